"""CNN14 of PANNs (Kong et al., arXiv:1912.10211), for its published checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from xmg.extract.encoders.audio_file import AUDIO, read_audio
from xmg.extract.encoders.device import Runner
from xmg.extract.encoders.groups import by_shape
from xmg.extract.encoders.weights import digest, fill, find_weights, load_state
from xmg.extract.types import Content, Features, Modality

_RATE, _N_FFT, _HOP = 32_000, 1024, 320  # Hz, then samples
_N_MELS, _FLOOR = 64, 1e-10  # bands, power
_N_BINS: Final = _N_FFT // 2 + 1
_SHORTEST: Final = 31 * _HOP  # samples that give 32 frames, which five halvings leave as one
_LONGEST: Final = 30 * _RATE  # samples in one pass; longer recordings are cut and averaged
_CHANNELS: Final = (64, 128, 256, 512, 1024, 2048)


class _Spectrogram(nn.Module):
    """Power |STFT|^2 of (B, n) as (B, 1, T, 513), T = 1 + n // 320.

    The checkpoint brings its own Fourier matrices, with the window inside.
    """

    def __init__(self) -> None:
        super().__init__()
        convolution = (1, _N_BINS, _N_FFT)
        self.stft = nn.ModuleDict(
            {part: nn.Conv1d(*convolution, _HOP, bias=False) for part in ("conv_real", "conv_imag")}
        )

    def forward(self, samples: Tensor) -> Tensor:
        half = _N_FFT // 2
        x = functional.pad(samples[:, None], (half, half), mode="reflect")  # (B, 1, n + 1024)
        power: Tensor = self.stft["conv_real"](x).square() + self.stft["conv_imag"](x).square()
        return power.transpose(1, 2)[:, None]


class _LogMel(nn.Module):
    """Decibels 10 log10 max(power melW, 1e-10): (B, 1, T, 513) to (B, 1, T, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.melW = nn.Parameter(torch.empty(_N_BINS, _N_MELS))

    def forward(self, power: Tensor) -> Tensor:
        return 10 * torch.log10((power @ self.melW).clamp_min(_FLOOR))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)))


class Cnn14(nn.Module):
    """Samples (B, n) at 32 kHz to embeddings (B, 2048); names as in the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram_extractor = _Spectrogram()
        self.logmel_extractor = _LogMel()
        self.bn0 = nn.BatchNorm2d(_N_MELS)
        for number, n_out in enumerate(_CHANNELS, start=1):
            n_in = _CHANNELS[number - 2] if number > 1 else 1
            self.add_module(f"conv_block{number}", _Block(n_in, n_out))
        self.fc1 = nn.Linear(2048, 2048)
        self.fc_audioset = nn.Linear(2048, 527)

    def log_mel(self, samples: Tensor) -> Tensor:
        """(B, n) to decibels (B, 1, T, 64)."""
        decibels: Tensor = self.logmel_extractor(self.spectrogram_extractor(samples))
        return decibels

    def convolve(self, decibels: Tensor) -> Tensor:
        """(B, 1, T, 64) to (B, 2048): max plus mean over time, then one layer."""
        x = self.bn0(decibels.transpose(1, 3)).transpose(1, 3)  # bands normalised, not the map
        for number in range(1, len(_CHANNELS) + 1):
            x = self.get_submodule(f"conv_block{number}")(x)
            if number < len(_CHANNELS):  # the last block is not pooled
                x = functional.avg_pool2d(x, 2)
        x = x.mean(3)  # (B, 2048, T / 32)
        return functional.relu(self.fc1(x.amax(2) + x.mean(2)))


class Cnn14Encoder:
    """One embedding of a whole recording; beyond 30 s, the mean over cuts of 30 s."""

    name = "cnn14"
    modality: Modality = "audio"
    dim = 2048
    sequences = False
    batch_size = 8
    packages = ("soundfile", "soxr")

    def __init__(self, model: Cnn14, *, device: str | None = None) -> None:
        self.runner = Runner.pick(device)
        self.at_once = self.runner.at_once(convolutions=True)
        self.weights_sha256 = digest(model.state_dict())
        self.preprocessing: Mapping[str, Any] = {
            **AUDIO,
            "rate": _RATE,
            "shortest": _SHORTEST,
            "longest": _LONGEST,
            "compute": self.runner.compute,
        }
        self.model = model.eval().requires_grad_(False).to(self.runner.device)

    def decode(self, content: Content) -> npt.NDArray[np.float32]:
        """Read a recording as (n,) samples; raises RejectError."""
        return read_audio(content, _RATE)

    def encode(self, batch: Sequence[npt.NDArray[np.float32]]) -> Features:
        """Map each recording (n,) to (2048,); only cuts of equal length share a pass."""
        cuts = [(row, cut) for row, samples in enumerate(batch) for cut in cut_up(samples)]
        features = np.zeros((len(batch), self.dim), np.float32)
        counts = np.bincount([row for row, _ in cuts], minlength=len(batch))
        for places in by_shape([len(cut) for _, cut in cuts], self.batch_size):
            embedded = self._embed(np.stack([cuts[i][1] for i in places]))
            np.add.at(features, [cuts[i][0] for i in places], embedded)
        mean: Features = (features / counts[:, None]).astype(np.float32)
        return mean

    def _embed(self, samples: npt.NDArray[np.float32]) -> Features:
        with self.runner.computing("float32"):
            x = self.runner.moved(samples)  # (B, n)
            decibels = self.model.log_mel(x)  # decibels of bfloat16 power would be coarse
        with self.runner.computing():
            embedded: Features = self.model.convolve(decibels).float().cpu().numpy()
        return embedded


def cut_up(samples: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Cut (n,) into 30 s; a short recording or remainder is padded with zeros to 32 frames."""
    cuts = [samples[i : i + _LONGEST] for i in range(0, len(samples), _LONGEST)]
    return [np.pad(cut, (0, max(0, _SHORTEST - len(cut)))) for cut in cuts]


def load(
    name: str = "cnn14",
    *,
    weights: Path | str | None = None,
    device: str | None = None,
) -> Cnn14Encoder:
    """Return CNN14 with `weights`, or the published file from where weights are kept.

    Raises XmgError where there is none, or it does not fit.
    """
    path = find_weights(name, weights)
    model = Cnn14()
    fill(model, load_state(path), str(path))
    return Cnn14Encoder(model, device=device)
