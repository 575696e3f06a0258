"""An encoder of the user's own: a function in a module of theirs that returns one."""

import sys
from importlib import import_module
from typing import Any, Final, get_args

from xmg.cache import XmgError
from xmg.extract.types import Encoder, Modality

_CHECKED: Final[dict[str, type]] = {
    "name": str, "dim": int, "sequences": bool, "batch_size": int, "weights_sha256": str,
}  # fmt: skip


def load(name: str) -> Encoder:
    """Call `module:function` without arguments; modules of the working directory count too.

    Raises XmgError where there is no such function, or what it returns is no Encoder; whatever the
    function itself raises passes through.
    """
    module_name, _, function_name = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script, unlike python -m, does not look here
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise XmgError(
            f"there is no module {module_name}. fix: run where {module_name}.py lies, or install it"
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise XmgError(f"{module_name} has no function {function_name}")
    return _checked(name, function())


def _checked(name: str, encoder: Any) -> Encoder:
    """Raise XmgError that names the first thing in which this is no Encoder."""
    for attribute, kind in _CHECKED.items():
        if not isinstance(getattr(encoder, attribute, None), kind):
            raise XmgError(
                f"what {name} returns has no {attribute} ({kind.__name__}). "
                "fix: see xmg.extract.types.Encoder"
            )
    if encoder.modality not in get_args(Modality):
        raise XmgError(f"{name}: modality is image, text or audio, not {encoder.modality!r}")
    for method in ("decode", "encode"):
        if not callable(getattr(encoder, method, None)):
            raise XmgError(f"what {name} returns has no method {method}")
    found: Encoder = encoder
    return found
