"""Any Hugging Face model of images, text or audio, by name or from a folder."""

from pathlib import Path
from typing import Any, Final, get_args

from transformers import AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from xmg.cache import XmgError
from xmg.extract.encoders.huggingface import loading, pretrained, source_of
from xmg.extract.types import Encoder, Modality

_READS: Final[dict[str, Modality]] = {
    "pixel_values": "image",
    "input_ids": "text",
    "input_values": "audio",
    "input_features": "audio",
}
_PARTS: Final[dict[str, Modality]] = {
    "vision_config": "image",
    "text_config": "text",
    "audio_config": "audio",
}


def load(
    name: str,
    *,
    weights: Path | str | None = None,
    modality: str | None = None,
    pooling: str | None = None,
    layers: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
) -> Encoder:
    """Return the encoder of a Hugging Face name or folder, of the modality that the model reads.

    modality: which part to take of a model that has several, such as CLIP. See `asked` for pooling
    and layers. Raises XmgError where the model cannot be had, or reads something else.
    """
    source = source_of(name, weights)
    with loading(source):
        config = pretrained(AutoConfig, source, trust_remote_code=trust_remote_code)
    if modality not in (None, *get_args(Modality)):
        raise XmgError(f"there is no modality {modality!r}. fix: image, text or audio")
    parts = _parts(config)
    if not parts and trust_remote_code:
        if modality is None:
            raise XmgError(f"{name} does not say what it reads. fix: --modality text, or another")
        parts = {modality: AutoModel}
    if not parts:
        raise XmgError(
            f"transformers knows no plain model of type {config.model_type!r}. "
            "fix: wrap it as module:function"
        )
    if len(parts) > 1 and modality is None:
        raise XmgError(
            f"{name} reads {' and '.join(parts)}. fix: add --modality {next(iter(parts))}"
        )
    if modality is not None and modality not in parts:
        raise XmgError(
            f"{name} reads {' and '.join(parts)}, not {modality}. "
            f"fix: --modality {next(iter(parts))}, or another model"
        )
    found = modality or next(iter(parts))
    options: dict[str, Any] = {
        "weights": weights, "pooling": pooling, "layers": layers, "device": device,
        "kind": parts[found], "trust_remote_code": trust_remote_code,
    }  # fmt: skip
    if found == "image":
        from xmg.extract.encoders.hf_image import load as load_image

        return load_image(name, **options)
    if found == "audio":
        from xmg.extract.encoders.hf_audio import load as load_audio

        return load_audio(name, **options)
    from xmg.extract.encoders.text import load as load_text

    return load_text(name, **options)


def _parts(config: Any) -> dict[str, Any]:
    """The model class for each modality that a configuration has an encoder of; maybe none."""
    several = {m: getattr(config, key) for key, m in _PARTS.items() if hasattr(config, key)}
    if len(several) > 1:
        return {m: MODEL_MAPPING[type(c)] for m, c in several.items() if type(c) in MODEL_MAPPING}
    kinds: Any = MODEL_MAPPING.get(type(config), ())
    kind = kinds[0] if isinstance(kinds, tuple) and kinds else kinds
    return {_READS.get(kind.main_input_name, "text"): kind} if kind else {}
