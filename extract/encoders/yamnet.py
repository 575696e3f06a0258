"""YAMNet: a MobileNet v1 trained on AudioSet, ported from TensorFlow to agree to 1e-3."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from xmg.extract.encoders.audio_file import AUDIO, read_audio
from xmg.extract.encoders.device import Compute, Runner
from xmg.extract.encoders.weights import digest, fill, find_weights, load_state
from xmg.extract.types import Content, Features, Modality

_RATE, _WINDOW, _HOP, _N_FFT = 16_000, 400, 160, 512  # Hz, then samples
_N_MELS, _LOW, _HIGH, _FLOOR = 64, 125.0, 7500.0, 1e-3  # bands, Hz, Hz, magnitude
_PATCH, _PATCH_HOP = 96, 48  # frames
_FRAMES_AT_ONCE: Final = 4096  # an hour of sound stays within a few MB
_PATCHES_AT_ONCE: Final = 32
_COMPUTE: Final[Compute] = "float32"  # depthwise layers gain nothing from bfloat16
# (channels out, stride) of each depthwise-separable block
_BLOCKS: Final = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Yamnet(nn.Module):
    """Patches (P, 1, 96, 64) of log-mel frames to embeddings (P, 1024). Batch norm is folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = _Convolution(1, 32, 3, stride=2)
        n_in = 32
        for number, (n_out, stride) in enumerate(_BLOCKS, start=1):
            depthwise = _Convolution(n_in, n_in, 3, stride=stride, padding=2 - stride, groups=n_in)
            block = nn.ModuleDict(
                {"depthwise": depthwise, "pointwise": _Convolution(n_in, n_out, 1)}
            )
            self.add_module(f"block{number}", block)
            n_in = n_out
        self.classifier = nn.Linear(n_in, 521)

    def forward(self, patches: Tensor) -> Tensor:
        """Mean over time and frequency of the last block."""
        x: Tensor = self.conv0(patches)
        for number in range(1, len(_BLOCKS) + 1):
            block = self.get_submodule(f"block{number}")
            assert isinstance(block, nn.ModuleDict)
            x = block["pointwise"](block["depthwise"](x))
        return x.mean((2, 3))


class _Convolution(nn.Conv2d):
    """Convolution and ReLU with TensorFlow's SAME padding for even sizes."""

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            x = functional.pad(x, (0, 1, 0, 1))  # only bottom and right
        return functional.relu_(super().forward(x))


@cache
def mel_bank() -> npt.NDArray[np.float32]:
    """Return (257, 64) triangles of unit peak, linear in HTK mel = 1127 ln(1 + f / 700)."""
    hertz = np.linspace(0, _RATE / 2, _N_FFT // 2 + 1)
    mel = 1127 * np.log1p(hertz / 700)[:, None]  # (257, 1)
    first, last = (1127 * np.log1p(f / 700) for f in (_LOW, _HIGH))
    edges = np.linspace(first, last, _N_MELS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((mel - low) / (centre - low), (high - mel) / (high - centre))
    triangles[0] = 0  # no DC bin
    bank: npt.NDArray[np.float32] = np.maximum(triangles, 0).astype(np.float32)
    return bank


def log_mel(samples: Tensor) -> Tensor:
    """Log of mel magnitude, (n,) at 16 kHz to (T, 64), T = 1 + (n - 400) // 160.

    A recording shorter than one patch is padded with zeros to 96 frames.
    """
    shortest = (_PATCH - 1) * _HOP + _WINDOW
    padded = functional.pad(samples, (0, max(0, shortest - len(samples))))
    frames = padded.unfold(0, _WINDOW, _HOP)  # (T, 400), a view
    window = torch.hann_window(_WINDOW, device=samples.device)
    bank = torch.from_numpy(mel_bank()).to(samples.device)
    parts = [
        torch.log(torch.fft.rfft(part * window, _N_FFT).abs() @ bank + _FLOOR)
        for part in torch.split(frames, _FRAMES_AT_ONCE)
    ]
    return torch.cat(parts)


class YamnetEncoder:
    """Mean of the patch embeddings, one patch of 0.96 s each 0.48 s."""

    name = "yamnet"
    modality: Modality = "audio"
    dim = 1024
    sequences = False
    batch_size = 16
    packages = ("soundfile", "soxr")

    def __init__(self, model: Yamnet, *, device: str | None = None) -> None:
        self.runner = Runner.pick(device, _COMPUTE)
        self.at_once = self.runner.at_once(convolutions=True)
        self.weights_sha256 = digest(model.state_dict())
        self.preprocessing: Mapping[str, Any] = {
            **AUDIO, "rate": _RATE, "window": _WINDOW, "hop": _HOP, "n_fft": _N_FFT,
            "mels": _N_MELS, "hertz": [_LOW, _HIGH], "floor": _FLOOR,
            "patch": [_PATCH, _PATCH_HOP], "pooling": "mean", "compute": _COMPUTE,
        }  # fmt: skip
        model = model.eval().requires_grad_(False).to(self.runner.device)
        self.model = model.to(memory_format=torch.channels_last)

    def decode(self, content: Content) -> npt.NDArray[np.float32]:
        """Read a recording as (n,) samples; raises RejectError."""
        return read_audio(content, _RATE)

    def encode(self, batch: Sequence[npt.NDArray[np.float32]]) -> Sequence[Features]:
        """Map each recording (n,) to (1024,) float32."""
        if not batch:
            return []
        with self.runner.computing():
            patches = [self._patches(samples) for samples in batch]
            parts = torch.split(torch.cat(patches), _PATCHES_AT_ONCE)
            embedded = torch.cat([self.model(part[:, None]) for part in parts])
            each = torch.split(embedded, [len(p) for p in patches])  # (P, 1024) of each
            return [part.mean(0).cpu().numpy() for part in each]

    def _patches(self, samples: npt.NDArray[np.float32]) -> Tensor:
        """(n,) to (P, 96, 64), a view: patches overlap by half."""
        frames = log_mel(self.runner.moved(samples))  # (T, 64)
        return frames.unfold(0, _PATCH, _PATCH_HOP).transpose(1, 2)


def load(
    name: str = "yamnet", *, weights: Path | str | None = None, device: str | None = None
) -> YamnetEncoder:
    """Return YAMNet with `weights`, or yamnet.safetensors from where weights are kept.

    Raises XmgError where there is none, or it does not fit.
    """
    path = find_weights(name, weights)
    model = Yamnet()
    fill(model, load_state(path), str(path))
    return YamnetEncoder(model, device=device)
