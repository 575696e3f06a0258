"""An encoder of the user's own: a function in a module of theirs that returns one."""

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, cast, get_args

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.extract.types import Encoder, Modality

_CHECKED: Final[dict[str, type]] = {
    "name": str, "modality": str, "dim": int, "sequences": bool, "batch_size": int,
    "weights_sha256": str, "preprocessing": Mapping,
}  # fmt: skip
_SEE: Final = "fix: python -m pydoc xmg.extract.types.Encoder shows what an encoder has"
_DIGITS: Final = 16  # of a digest: 64 bits


class _Own:
    """The user's encoder, whose preprocessing also says which code it is."""

    def __init__(self, encoder: Any, code: Mapping[str, str]) -> None:
        self._encoder = encoder
        self.preprocessing = {**code, **encoder.preprocessing}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def load(name: str) -> Encoder:
    """Call `module:function` without arguments; modules of the working directory count too.

    `preprocessing` of what it returns gains "code", a digest of the function's module and of the
    encoder's class's, unless it has a "code" of its own. Raises XmgError where there is no such
    function, or what it returns is no Encoder; whatever the function itself raises passes through.
    """
    module_name, _, function_name = name.partition(":")
    module = _imported(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise XmgError(
            f"{module_name} has no function {function_name}{closest(function_name, known)}. "
            "fix: name one that returns an encoder"
        )
    if not _takes_nothing(function):
        raise XmgError(
            f"{name} needs arguments. fix: name a function that takes none and returns an encoder"
        )
    encoder = function()
    _check(name, encoder)
    return cast(Encoder, _Own(encoder, _code(module_name, function, type(encoder))))


def _imported(name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script, unlike python -m, does not look here
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise XmgError(
            f"there is no module {name}. fix: run where {name}.py lies, or install it"
        ) from error


def _takes_nothing(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    except ValueError:  # of compiled code nothing is known
        return True
    return True


def _check(name: str, encoder: Any) -> None:
    """Raise XmgError that names the first thing in which this is no Encoder."""
    for attribute, kind in _CHECKED.items():
        if not isinstance(getattr(encoder, attribute, None), kind):
            raise XmgError(f"what {name} returns has no {attribute} ({kind.__name__}). {_SEE}")
    for attribute in ("dim", "batch_size"):
        if getattr(encoder, attribute) < 1:
            raise XmgError(f"{name}: {attribute} is {getattr(encoder, attribute)}. fix: 1 or more")
    if encoder.modality not in get_args(Modality):
        raise XmgError(
            f"{name}: there is no modality {encoder.modality!r}. fix: image, text or audio"
        )
    for method in ("decode", "encode"):
        if not callable(getattr(encoder, method, None)):
            raise XmgError(f"what {name} returns has no method {method}. {_SEE}")
    try:
        json.dumps(dict(encoder.preprocessing))
    except (TypeError, ValueError) as error:
        raise XmgError(
            f"{name}: preprocessing goes into the feature file as JSON, and cannot ({error}). "
            "fix: texts, numbers, and lists and dicts of them"
        ) from error


def _code(module: str, function: Any, kind: type) -> dict[str, str]:
    """A digest of the modules' sources; nothing where there is none, or they are xmg's own."""
    names = {module, getattr(function, "__module__", module), kind.__module__}
    sources = []
    for name in sorted(name for name in names if not name.startswith("xmg.")):
        with suppress(OSError, TypeError):
            sources.append(inspect.getsource(sys.modules[name]))
    whole = hashlib.sha256("\0".join(sources).encode("utf-8", "surrogatepass"))
    return {"code": whole.hexdigest()[:_DIGITS]} if sources else {}
