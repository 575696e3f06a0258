"""What a feature file is: write, map, pair. NumPy and h5py only, no torch.

A name's module is imported when the name is first used: help of the command line needs neither
NumPy nor h5py, and `xmg doctor` answers where one of them is broken.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from xmg.cache.errors import XmgError
    from xmg.cache.exchange.arrays import from_arrays
    from xmg.cache.identity import FeatureSpec, Listing, Reject
    from xmg.cache.read import FeatureFile, decode
    from xmg.cache.sealed import Sealed
    from xmg.cache.write import FeatureWriter
    from xmg.cache.writing.part import PartWriter
    from xmg.cache.writing.rows import RowWriter

__all__ = [
    "FeatureFile",
    "FeatureSpec",
    "FeatureWriter",
    "Listing",
    "PartWriter",
    "Reject",
    "RowWriter",
    "Sealed",
    "XmgError",
    "decode",
    "from_arrays",
]
_HOMES: Final = {
    "FeatureFile": "read",
    "FeatureSpec": "identity",
    "FeatureWriter": "write",
    "Listing": "identity",
    "PartWriter": "writing.part",
    "Reject": "identity",
    "RowWriter": "writing.rows",
    "Sealed": "sealed",
    "XmgError": "errors",
    "decode": "read",
    "from_arrays": "exchange.arrays",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
