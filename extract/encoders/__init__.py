"""Frozen encoders by name; a module is imported only when one of its encoders is asked for."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xmg.cache import XmgError

if TYPE_CHECKING:
    from xmg.extract.types import Encoder, Modality

__all__ = ["ENCODERS", "PUBLISHED", "check_encoder", "load_encoder", "options_of"]


@dataclass(frozen=True, slots=True)
class Loader:
    """A function of a module here, the extra it needs, and the options it takes."""

    module: str
    function: str
    extra: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """A named encoder: its loader, and what a person wants to know before choosing it."""

    loader: Loader
    modality: "Modality"
    dim: int
    reads: str
    licence: str  # of the weights


_WEIGHTS: Final = ("weights", "device")
_MODEL: Final = (*_WEIGHTS, "pooling", "layers")
_TORCHVISION: Final = Loader("image", "load_torchvision", "image", _WEIGHTS)
PREFIXES: Final = {
    "hf:": Loader("hf", "load", "image,text,audio", (*_MODEL, "modality", "trust_remote_code")),
    "timm:": Loader("image", "load_timm", "image", _WEIGHTS),
    "torchvision:": _TORCHVISION,
}
OF_IMAGES: Final = tuple(name for name, one in PREFIXES.items() if one.module == "image")
_SUCH_AS: Final = {
    "hf:": "hf:google/vit-base-patch16-224", "timm:": "timm:convnext_tiny",
    "torchvision:": "torchvision:convnext_tiny",
}  # fmt: skip
PUBLISHED: Final = {
    **{
        name: Published(_TORCHVISION, "image", dim, "224 x 224", "BSD-3-Clause")
        for name, dim in (
            ("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("resnet101", 2048),
            ("resnet152", 2048),
        )
    },
    "efficientnet-lite0": Published(
        Loader("image", "load_efficientnet", "image", _WEIGHTS),
        "image", 1280, "224 x 224", "Apache-2.0",
    ),
    "bert-base-uncased": Published(
        Loader("text", "load", "text", _MODEL), "text", 768, "512 tokens", "Apache-2.0"
    ),
    "minilm": Published(
        Loader("text", "load_minilm", "text", _WEIGHTS), "text", 384, "256 tokens", "Apache-2.0"
    ),
    "char-ngrams": Published(
        Loader("ngrams", "load", "text"), "text", 2048, "any script", "no weights"
    ),
    "yamnet": Published(
        Loader("yamnet", "load", "audio", _WEIGHTS),
        "audio", 1024, "16 kHz", "Apache-2.0",
    ),
    "cnn14": Published(
        Loader("cnn14", "load", "audio", _WEIGHTS), "audio", 2048, "32 kHz", "CC-BY-4.0"
    ),
    "ast": Published(
        Loader("hf_audio", "load_ast", "audio", _WEIGHTS),
        "audio", 768, "16 kHz, 10.24 s", "BSD-3-Clause",
    ),
    "logmel40": Published(
        Loader("speech", "load", "audio"), "audio", 40, "16 kHz, as frames", "no weights"
    ),
    "logmel40-stats": Published(
        Loader("speech", "load", "audio"), "audio", 860, "16 kHz", "no weights"
    ),
}  # fmt: skip
ENCODERS: Final = tuple(PUBLISHED)
WEIGHTS_VARIABLE: Final = "XMG_WEIGHTS"  # names a folder of weights that nothing else brings
WEIGHTS_FOLDER: Final = "~/.cache/xmg/weights"  # another, looked at after it
WEIGHTS_FILES: Final = {"yamnet": "yamnet.safetensors", "cnn14": "Cnn14_mAP=0.431.pth"}


def load_encoder(
    name: str,
    *,
    weights: Path | str | None = None,
    pooling: str | None = None,
    layers: str | None = None,
    modality: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> "Encoder":
    """Return the frozen encoder `name`.

    One of ENCODERS; `hf:MODEL`, a Hugging Face name or local folder (a name with a slash may stand
    alone); `timm:NAME`; `torchvision:NAME`; or `module:function`, which returns an Encoder of your
    own. weights: a file (or for transformers a folder) in place of the default. pooling, layers:
    what of a transformer's states becomes features, such as "mean,cls" and "6,12". modality: which
    part of a model that has several. device: a torch device. trust_remote_code: run code that a
    Hugging Face model brings.
    Raises XmgError for an unknown name, an option that the encoder does not take, a package
    that is not installed, or weights that cannot be loaded.
    """
    loader, model = _find(name)
    given = {
        "weights": weights, "pooling": pooling, "layers": layers, "modality": modality,
        "device": device, "trust_remote_code": trust_remote_code or None,
    }  # fmt: skip
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        runs_there_anyway = key == "device" and device == "cpu"
        if key not in loader.options and not runs_there_anyway:
            takes = ", ".join(_flag(option) for option in loader.options) or "no options"
            raise XmgError(
                f"the encoder {name} does not take {_flag(key)}; it takes {takes}. "
                f"fix: leave out {_flag(key)}"
            )
    return _load(name, loader, model, {k: v for k, v in options.items() if k in loader.options})


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def check_encoder(name: str) -> None:
    """Raise XmgError for a name that `load_encoder` does not know; nothing is loaded."""
    _find(name)


def options_of(name: str) -> tuple[str, ...]:
    """The options of `load_encoder` that an encoder takes; raises XmgError as `check_encoder`."""
    return _find(name)[0].options


def _find(name: str) -> tuple[Loader, str]:
    """Return the loader and the name to pass to it."""
    if name in PUBLISHED:
        return PUBLISHED[name].loader, name
    for prefix, loader in PREFIXES.items():
        if name == prefix:
            raise XmgError(f"{name!r} names no model. fix: name one, such as {_SUCH_AS[prefix]}")
        if name.startswith(prefix):
            return loader, name.removeprefix(prefix)
    module, colon, function = name.partition(":")
    if colon and function.isidentifier() and all(p.isidentifier() for p in module.split(".")):
        return Loader("own", "load", "", ()), name
    if "/" in name:
        return PREFIXES["hf:"], name
    close = get_close_matches(name, ENCODERS, 1)
    raise XmgError(
        f"no encoder {name!r}{f'; did you mean {close[0]}?' if close else '.'} "
        f"fix: one of {', '.join(ENCODERS)}; also "
        f"hf:MODEL, timm:NAME, torchvision:NAME, and module:function for your own"
    )


def _load(name: str, loader: Loader, model: str, options: dict[str, Any]) -> "Encoder":
    try:
        module = import_module(f"xmg.extract.encoders.{loader.module}")
        encoder: Encoder = getattr(module, loader.function)(model, **options)
    except ImportError as error:
        if not loader.extra or (error.name is not None and error.name.startswith("xmg")):
            raise
        raise XmgError(
            f"the encoder {name} needs a package that does not load ({error}). "
            f"fix: pip install 'xmg[{loader.extra}]'"
        ) from error
    return encoder
