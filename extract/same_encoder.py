"""Load again the encoder that made a feature file, to encode more inputs alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmg.cache import FeatureSpec, XmgError
from xmg.cache.identity import differences, recipe
from xmg.extract.encoders import ENCODERS, OF_IMAGES, load_encoder, options_of
from xmg.extract.types import Encoder


def same_encoder(
    spec: FeatureSpec,
    *,
    name: str | None = None,
    weights: Path | str | None = None,
    device: str | None = None,
) -> Encoder:
    """Load the encoder that `spec` tells of, with the same layers and pooling.

    name: what it is called here, where its own name does not find it, as of `module:function`.
    weights: a file, where they have no default. Raises XmgError where it cannot be loaded, or what
    is loaded differs in name, weights or recipe: features would mean something else.
    """
    asked = name or _known_name(spec.encoder)
    encoder = load_encoder(asked, weights=weights, device=device, **_options(asked, spec))
    found = {"weights": encoder.weights_sha256, "recipe": recipe(encoder.preprocessing)}
    wanted = {"weights": spec.weights_sha256, "recipe": recipe(spec.preprocessing)}
    which = differences(found, wanted)
    if which:
        raise XmgError(
            f"{asked} is not the encoder that made the features: {which}.\n"
            "fix: --weights with the file of then, or --encoder with its name"
        )
    return encoder


def _known_name(name: str) -> str:
    """The first way of asking for a name that is known. Raises XmgError where none is.

    A file may come from a stranger: no function of a module is called by what it says.
    """
    if name in ENCODERS or name.startswith(OF_IMAGES):
        return name
    if ":" in name:
        return _unknown(name)
    if "/" in name or Path(name).is_dir():
        return f"hf:{name}"
    return _torchvision(name) or _unknown(name)


def _torchvision(name: str) -> str | None:
    try:
        import torchvision
    except ImportError:
        return None
    known = torchvision.models.list_models(module=torchvision.models)
    return f"torchvision:{name}" if name in known else None


def _unknown(name: str) -> str:
    raise XmgError(
        f"the features were made by the encoder {name!r}, which this machine cannot find by that "
        "name. fix: --encoder with what xmg extract was given, such as hf:FOLDER or module:function"
    )


def _options(name: str, spec: FeatureSpec) -> dict[str, Any]:
    """Layers, pooling and modality, of an encoder that takes them."""
    made = spec.preprocessing
    layers = made.get("layers")
    found = {
        "pooling": made.get("pooling"),
        "layers": ",".join(map(str, layers)) if layers else None,
        "modality": _modality(made),
    }
    takes = options_of(name)
    return {key: value for key, value in found.items() if key in takes and value is not None}


def _modality(preprocessing: Mapping[str, Any]) -> str:
    """What is decoded: each modality has a key of its own."""
    if "tokenizer" in preprocessing:
        return "text"
    return "audio" if "resample" in preprocessing else "image"
