"""Frozen encoders by name; a module is imported only when one of its encoders is asked for."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Final

from xmg.cache import XmgError
from xmg.extract.types import Encoder

__all__ = ["ENCODERS", "load_encoder"]


@dataclass(frozen=True, slots=True)
class _Loader:
    """A function of a module here, the extra it needs, and the options it takes."""

    module: str
    function: str
    extra: str
    options: tuple[str, ...] = ()


_WEIGHTS: Final = ("weights", "device")
_HUGGING_FACE: Final = _Loader("text", "load", "text", ("pooling", "device"))
_LOADERS: Final = {
    **{
        f"resnet{depth}": _Loader("image", "load_resnet", "image", _WEIGHTS)
        for depth in (18, 34, 50, 101, 152)
    },
    "efficientnet-lite0": _Loader("image", "load_efficientnet", "image", _WEIGHTS),
    "bert-base-uncased": _Loader("text", "load", "text", (*_WEIGHTS, "pooling")),
    "minilm": _Loader("text", "load_minilm", "text", _WEIGHTS),
    "char-ngrams": _Loader("ngrams", "load", "text"),
    "yamnet": _Loader("yamnet", "load", "audio", _WEIGHTS),
    "cnn14": _Loader("cnn14", "load", "audio", _WEIGHTS),
    "ast": _Loader("ast", "load", "audio", _WEIGHTS),
    "logmel40": _Loader("speech", "load", "audio"),
    "logmel40-stats": _Loader("speech", "load", "audio"),
}
_PREFIXES: Final = {
    "text:": _HUGGING_FACE,
    "ast:": _Loader("ast", "load", "audio", ("device",)),
}
ENCODERS: Final = tuple(_LOADERS)


def load_encoder(
    name: str,
    *,
    weights: Path | str | None = None,
    pooling: str | None = None,
    device: str | None = None,
) -> Encoder:
    """Return the frozen encoder `name`: one of ENCODERS, `ast:MODEL`, or a text MODEL.

    MODEL is a Hugging Face name or local folder; a text model may be given as `text:MODEL`,
    or as it is where it holds a slash. weights: a file (or for transformers a folder) in place
    of the default. pooling: "mean" or "cls", text models only. device: a torch device.
    Raises XmgError for an unknown name, an option that the encoder does not take, a package
    that is not installed, or weights that cannot be loaded.
    """
    loader, model = _find(name)
    given = {"weights": weights, "pooling": pooling, "device": device}
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        runs_there_anyway = key == "device" and device == "cpu"
        if key not in loader.options and not runs_there_anyway:
            takes = ", ".join(f"--{option}" for option in loader.options) or "no options"
            raise XmgError(f"the encoder {name} does not take --{key}; it takes {takes}")
    return _load(name, loader, model, {k: v for k, v in options.items() if k in loader.options})


def _find(name: str) -> tuple[_Loader, str]:
    """Return the loader and the name to pass to it."""
    if name in _LOADERS:
        return _LOADERS[name], name
    for prefix, loader in _PREFIXES.items():
        if name.startswith(prefix) and name != prefix:
            return loader, name.removeprefix(prefix)
    if "/" in name:
        return _HUGGING_FACE, name
    close = get_close_matches(name, ENCODERS, 1, 0)
    raise XmgError(
        f"no encoder {name!r}; did you mean {close[0]}? There are {', '.join(ENCODERS)}; also "
        f"text:MODEL and ast:MODEL for a Hugging Face name or folder"
    )


def _load(name: str, loader: _Loader, model: str, options: dict[str, Path | str]) -> Encoder:
    try:
        module = import_module(f"xmg.extract.encoders.{loader.module}")
        positional = () if loader.module == "ngrams" else (model,)
        encoder: Encoder = getattr(module, loader.function)(*positional, **options)
    except ImportError as error:
        if error.name is not None and error.name.startswith("xmg"):
            raise
        raise XmgError(
            f"the encoder {name} needs a package that does not load ({error}). "
            f"fix: pip install 'xmg[{loader.extra}]'"
        ) from error
    return encoder
