"""AST, the Audio Spectrogram Transformer, by way of transformers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torchaudio  # noqa: F401 - without it, the filter bank would come from another code path
from transformers import ASTFeatureExtractor, ASTModel

from xmg.extract.encoders.audio_file import AUDIO, read_audio
from xmg.extract.encoders.device import Compute, computing, pick_compute, pick_device
from xmg.extract.encoders.huggingface import load_model, loading, shown_name, source_of
from xmg.extract.encoders.weights import digest
from xmg.extract.types import Content, Features, Modality

DEFAULT: Final = "MIT/ast-finetuned-audioset-10-10-0.4593"
_WINDOW_S: Final = 0.025  # the filter bank needs one whole window
_EXTRACTOR: Final = ("sampling_rate", "num_mel_bins", "max_length", "do_normalize", "mean", "std")


class AstEncoder:
    """Pooled output (768-d for the published model) of the recording's first 10.24 seconds."""

    modality: Modality = "audio"
    sequences = False
    batch_size = 16
    packages = ("soundfile", "soxr", "torchaudio", "transformers")

    def __init__(
        self,
        name: str,
        model: Any,
        extractor: Any,
        *,
        device: str | None = None,
        compute: Compute | None = None,
    ) -> None:
        self.name, self.extractor = name, extractor
        self.dim = int(model.config.hidden_size)
        self.device = pick_device(device)
        self.compute: Compute = compute or pick_compute(self.device)
        self.weights_sha256 = digest(model.state_dict())
        recipe = {key: getattr(extractor, key) for key in _EXTRACTOR}
        self.preprocessing: Mapping[str, Any] = {**recipe, **AUDIO, "compute": self.compute}
        self.model = model.to(self.device)

    def decode(self, content: Content) -> npt.NDArray[np.float32]:
        """Read a recording as a normalised filter bank (max_length, mels); raises RejectError."""
        rate = self.extractor.sampling_rate
        samples = read_audio(content, rate)
        samples = np.pad(samples, (0, max(0, round(_WINDOW_S * rate) - len(samples))))
        values = self.extractor(samples, sampling_rate=rate, return_tensors="np")["input_values"]
        return np.asarray(values[0], np.float32)

    def encode(self, batch: Sequence[npt.NDArray[np.float32]]) -> Features:
        """Map (B, max_length, mels) to (B, dim) float32."""
        if not batch:
            return np.empty((0, self.dim), np.float32)
        with computing(self.device, self.compute):
            banks = torch.from_numpy(np.stack(batch)).to(self.device)
            pooled = self.model(banks).pooler_output
            features: Features = pooled.float().cpu().numpy()
        return features


def load(
    name: str = "ast",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
    compute: Compute | None = None,
) -> AstEncoder:
    """Return the published AST for "ast", or another Hugging Face name or folder.

    weights: a local folder to load in place of `name`. Raises XmgError where it cannot be had.
    """
    source = source_of(DEFAULT if name == "ast" else name, weights)
    with loading(source):
        extractor = ASTFeatureExtractor.from_pretrained(source)
    model = load_model(ASTModel, source)
    return AstEncoder(shown_name(name), model, extractor, device=device, compute=compute)
