"""Any Hugging Face model that hears: of waveforms (wav2vec 2.0) or of spectrograms (AST, Whisper).

AST, the published Audio Spectrogram Transformer, is one of them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torchaudio  # noqa: F401 - without it, AST's filter bank would come from another code path
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel

from xmg.extract.encoders.audio_file import AUDIO, read_audio
from xmg.extract.encoders.device import Runner
from xmg.extract.encoders.groups import by_shape
from xmg.extract.encoders.huggingface import load_whole, shown_name
from xmg.extract.encoders.readout import Readout, asked
from xmg.extract.encoders.weights import digest
from xmg.extract.types import Content, Features, Modality

AST: Final = "MIT/ast-finetuned-audioset-10-10-0.4593"
_SHORTEST_S: Final = 0.1  # what every model can hear
_LONGEST_S: Final = 30  # of a waveform in one pass: attention grows with its square
_EXTRACTOR: Final = (
    "sampling_rate", "num_mel_bins", "feature_size", "max_length", "n_samples", "hop_length",
    "do_normalize", "mean", "std",
)  # fmt: skip


class AudioModelEncoder:
    """The model's own feature extractor, the model, and poolings of its states.

    A spectrogram model hears what fits into its window, the beginning; a waveform is cut after 30 s
    and its pooled cuts are averaged.
    """

    modality: Modality = "audio"
    batch_size = 16
    packages = ("soundfile", "soxr", "torchaudio", "transformers")

    def __init__(
        self,
        name: str,
        model: Any,
        extractor: Any,
        readout: Readout,
        *,
        device: str | None = None,
    ) -> None:
        self.name, self.extractor, self.readout = name, extractor, readout
        self.sequences = readout.sequences
        self.rate = int(extractor.sampling_rate)
        self.runner = Runner.pick(device)
        # some versions of transformers note inner states on the model itself
        self.at_once = 1 if readout.inner else self.runner.at_once()
        self.weights_sha256 = digest(model.state_dict())
        self.model = model.to(self.runner.device)
        silence = self._prepare(np.zeros(self.rate, np.float32))
        widths = [part.shape[-1] for part in self._parts([silence])]
        self.dim = sum(widths)
        recipe = {key: getattr(extractor, key) for key in _EXTRACTOR if hasattr(extractor, key)}
        self.preprocessing: Mapping[str, Any] = {
            **recipe,
            **AUDIO,
            **readout.recipe(widths),
            "longest": _LONGEST_S,
            "compute": self.runner.compute,
        }

    def decode(self, content: Content) -> list[tuple[Features, float]]:
        """Cuts of a recording as the model takes them, each with its share of the window that
        holds sound; raises RejectError."""
        samples = read_audio(content, self.rate)
        size = _LONGEST_S * self.rate
        cuts = [samples[i : i + size] for i in range(0, len(samples), size)]
        if len(cuts) > 1 and len(cuts[-1]) < _SHORTEST_S * self.rate:
            cuts.pop()  # a few samples, padded with silence, would count like 30 s
        return [self._prepare(cut) for cut in (cuts if self._hears_waves() else cuts[:1])]

    def encode(
        self, batch: Sequence[list[tuple[Features, float]]]
    ) -> Sequence[Features] | Features:
        """Map each recording to (dim,) float32, or to its frames (T, dim); only cuts of equal shape
        share a pass."""
        cuts = [(row, cut) for row, recording in enumerate(batch) for cut in recording]
        found: list[list[Features]] = [[] for _ in batch]
        shapes = [cut[0].shape for _, cut in cuts]
        for places in by_shape(shapes, self.batch_size):
            parts = torch.cat(self._parts([cuts[i][1] for i in places]), -1).cpu().numpy()
            for i, vectors in zip(places, parts, strict=True):
                row, (_, share) = cuts[i]
                kept = math.ceil(share * len(vectors))
                found[row].append(vectors[:kept] if self.sequences else vectors)
        if self.sequences:
            return [np.concatenate(parts) for parts in found]
        return np.array([np.mean(parts, 0) for parts in found], np.float32).reshape(-1, self.dim)

    def _hears_waves(self) -> bool:
        return str(self.model.main_input_name) == "input_values" and self._window() is None

    def _window(self) -> float | None:
        """Seconds that a spectrogram model takes, filled up with silence; None for waveforms."""
        n_samples = getattr(self.extractor, "n_samples", None)
        if n_samples:
            return float(n_samples) / self.rate
        frames = getattr(self.extractor, "max_length", None)
        bank = hasattr(self.extractor, "num_mel_bins")
        return frames * 0.01 if bank and frames else None  # filter banks have a hop of 10 ms

    def _prepare(self, samples: npt.NDArray[np.float32]) -> tuple[Features, float]:
        shortest = math.ceil(_SHORTEST_S * self.rate)
        padded = np.pad(samples, (0, max(0, shortest - len(samples))))
        values = self.extractor(padded, sampling_rate=self.rate, return_tensors="np")
        window = self._window()
        share = min(1.0, len(padded) / (window * self.rate)) if window else 1.0
        return np.asarray(values[self.model.main_input_name][0], np.float32), share

    def _parts(self, cuts: Sequence[tuple[Features, float]]) -> list[Tensor]:
        with self.runner.computing():
            inputs = self.runner.moved(np.stack([values for values, _ in cuts]))
            output = self.model(
                **{self.model.main_input_name: inputs}, output_hidden_states=self.readout.inner
            )
            return self.readout.read(output, self._mask(output, [share for _, share in cuts]))

    def _mask(self, output: Any, shares: Sequence[float]) -> Tensor | None:
        """1 at frames of sound, where a model's frames follow time and silence fills them up."""
        if not getattr(self.extractor, "n_samples", None):
            return None
        n_frames = output.last_hidden_state.shape[1]
        lengths = torch.tensor([math.ceil(share * n_frames) for share in shares])
        return (torch.arange(n_frames) < lengths[:, None]).to(self.runner.device)


def load(
    name: str,
    *,
    weights: Path | str | None = None,
    pooling: str | None = None,
    layers: str | None = None,
    device: str | None = None,
    kind: Any = AutoModel,
    trust_remote_code: bool = False,
) -> AudioModelEncoder:
    """Return a Hugging Face name or folder; see `asked` for pooling and layers.

    weights: a local folder to load in place of `name`. kind: the class of its audio part. Raises
    XmgError where the model cannot be had.
    """
    extractor, model = load_whole(AutoFeatureExtractor, kind, name, weights, trust_remote_code)
    readout = asked(layers, pooling, "mean")
    return AudioModelEncoder(shown_name(name), model, extractor, readout, device=device)


def load_ast(
    name: str = "ast",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> AudioModelEncoder:
    """Return the published AST: what its pooler makes of the first 10.24 seconds (768-d)."""
    encoder = load(AST, weights=weights, pooling="pooler", device=device)
    encoder.name = name
    return encoder
