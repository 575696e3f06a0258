"""What a feature file is: write, map, pair. NumPy and h5py only, no torch."""

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
