"""Read one recording: any format libsndfile knows, mixed to mono, at the wanted rate."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from xmg.extract.types import Content, RejectError

# Part of every audio encoder's preprocessing: these choices change numbers.
AUDIO: Final = {"channels": "mean", "resample": "soxr HQ"}


def read_audio(path: Content, rate: int) -> npt.NDArray[np.float32]:
    """Read `path` as float32 mono (n,), n >= 1, at `rate` Hz.

    Integer formats are scaled to [-1, 1]; channels are averaged. Raises RejectError where the
    file is missing, unreadable, empty, or holds NaN or infinite samples.
    """
    if not isinstance(path, Path):
        raise RejectError(f"expected an audio file, got {type(path).__name__}")
    samples, native = _read(path)  # (n, channels)
    if not len(samples):
        raise RejectError("the recording holds no samples")
    mono = samples.mean(axis=1, dtype=np.float32)  # (n,)
    if not np.isfinite(mono).all():
        raise RejectError("the recording holds NaN or infinite samples")
    if native != rate:
        mono = soxr.resample(mono, native, rate)
    if not len(mono):
        raise RejectError(f"the recording is shorter than one sample at {rate} Hz")
    return np.ascontiguousarray(mono, dtype=np.float32)


def _read(path: Path) -> tuple[npt.NDArray[np.float32], int]:
    """Return samples (n, channels) float32 and their rate in Hz."""
    try:
        with path.open("rb") as file:
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except OSError as error:
        raise RejectError(f"cannot open: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise RejectError(f"not readable audio: {error.error_string}") from error
    return samples, int(rate)
