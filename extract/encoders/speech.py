"""Log-mel frames and their statistics: the classical front end of speech, no weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
import torchaudio.functional

from xmg.extract.encoders.audio_file import AUDIO, read_audio
from xmg.extract.types import Content, Features, Modality

_RATE, _WINDOW, _HOP, _N_FFT = 16_000, 400, 160, 512  # Hz, then samples
_N_MELS: Final = 40
_FLOOR = 1e-6  # power below which a band counts as silent
_UPPER: Final = np.triu_indices(_N_MELS, 1)


def log_mel(samples: npt.NDArray[np.float32]) -> Features:
    """Natural log of mel power, (n,) at 16 kHz to (T, 40) frames, T = 1 + n // 160.

    25 ms periodic Hann window, 10 ms hop, 40 HTK-scale triangles over 0-8000 Hz, floored at
    1e-6. Frames are centred: the signal is padded with zeros by half an FFT.
    """
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(
        torch.from_numpy(samples), _N_FFT, _HOP, _WINDOW, window,
        pad_mode="constant", return_complex=True,
    )  # fmt: skip
    power = spectrum.abs().square()  # (257, T)
    bank = torchaudio.functional.melscale_fbanks(_N_FFT // 2 + 1, 0, _RATE / 2, _N_MELS, _RATE)
    mel: Features = (power.T @ bank).clamp_min(_FLOOR).log().numpy()  # (T, 40)
    return mel


def frame_statistics(frames: Features) -> Features:
    """Mean and standard deviation of each band and the correlation of each pair of bands.

    frames (T, 40); returns (860,): 40 means, 40 deviations, 780 correlations (0 where a band
    is constant).
    """
    mean, std = frames.mean(0), frames.std(0)
    moves = frames.max(0) > frames.min(0)  # rounding gives a constant band a deviation
    z = (frames - mean) / np.where(moves, std, np.inf)
    correlation = z.T @ z / len(frames)
    return np.concatenate([mean, std, correlation[_UPPER]]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class SpeechEncoder:
    """log_mel, with or without a summary of its frames."""

    name: str
    dim: int
    sequences: bool
    summary: Callable[[Features], Features] | None
    preprocessing: Mapping[str, Any]
    modality: Modality = "audio"
    batch_size: int = 32
    weights_sha256: str = ""
    packages: tuple[str, ...] = ("soundfile", "soxr", "torchaudio")

    def decode(self, content: Content) -> Features:
        """Read a recording and compute its features; raises RejectError."""
        frames = log_mel(read_audio(content, _RATE))
        return self.summary(frames) if self.summary else frames

    def encode(self, batch: Sequence[Features]) -> Sequence[Features]:
        """Nothing is left to do: the work is done where it runs in parallel."""
        return batch


def load(name: str) -> SpeechEncoder:
    """`logmel40`: frames (T, 40). `logmel40-stats`: their statistics (860,)."""
    mel = {"rate": _RATE, "window": _WINDOW, "hop": _HOP, "n_fft": _N_FFT, "floor": _FLOOR, **AUDIO}
    if name == "logmel40":
        return SpeechEncoder(name, _N_MELS, True, None, mel)
    dim = 2 * _N_MELS + len(_UPPER[0])
    statistics = {**mel, "statistics": ["mean", "std", "correlation"]}
    return SpeechEncoder(name, dim, False, frame_statistics, statistics)
