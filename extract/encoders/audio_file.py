"""Read one recording: any format libsndfile knows, mixed to mono, at the wanted rate."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from xmg.extract.types import Content, RejectError

# Part of every audio encoder's preprocessing: these choices change numbers.
AUDIO: Final = {"channels": "mean", "resample": "soxr HQ"}
_LONGEST: Final = 3600  # seconds: 180 KB of FLAC can hold an hour of silence
_RATES: Final = range(1_000, 1_000_001)  # Hz; others are damage, and tiny files would grow huge
_BLOCK: Final = 1 << 20  # values decoded at once, of all channels
_WHOLE: Final = 0.99  # of what the header promises
# What libsndfile notes of a file that stops early: bytes promised and there, or an Ogg's lost end.
_BYTES: Final = re.compile(
    r"(?:data|SSND|[Rr]iff size|riff|Data Size) *: (\d+) \(should be (\d+)\)"
)
_NO_END: Final = re.compile(r"Last page lacks an end|Junk after the last page")
_STREAMED: Final = 0x7FFF0000  # bytes: written by programs that could not know the length
_UNKNOWN: Final = (1 << 63) - 1  # frames
Signal = npt.NDArray[np.float32]


def read_audio(path: Content, rate: int) -> Signal:
    """Read `path` as float32 mono (n,), n >= 1, at `rate` Hz.

    Integer formats are scaled to [-1, 1], others kept as they are, beyond 1 too; channels are
    averaged. Raises RejectError where the file is missing, unreadable, empty, cut off, longer
    than an hour, of a sampling rate outside 1 kHz to 1 MHz, or holds NaN or infinite samples.
    """
    if not isinstance(path, Path):
        raise RejectError(f"expected an audio file, got {type(path).__name__}")
    try:
        # the descriptor, as seeks that fail on a Python file are printed
        with path.open("rb") as f, soundfile.SoundFile(f.fileno(), closefd=False) as sound:
            samples = _read(sound, rate)
    except OSError as error:
        raise RejectError(f"cannot open: {error.strerror or error}") from error
    except soundfile.LibsndfileError as error:
        raise RejectError(f"not readable audio: {error.error_string}") from error
    if not len(samples):
        raise RejectError(f"the recording is shorter than one sample at {rate} Hz")
    return samples


def _read(sound: Any, rate: int) -> Signal:
    """Decode, mix and resample block by block: only the result is ever held whole."""
    native = int(sound.samplerate)
    if native not in _RATES:
        raise RejectError(f"a sampling rate of {native} Hz; those from 1 kHz to 1 MHz are read")
    resampler = None if native == rate else soxr.ResampleStream(native, rate, 1, dtype="float32")
    promised = 0 if sound.format == "MP3" else sound.frames  # of an MP3 it is a guess
    _check_length(promised, native)
    n_read, parts = 0, []
    for mono in _blocks(sound):
        n_read += len(mono)
        _check_length(n_read, native)
        parts.append(resampler.resample_chunk(mono) if resampler else mono)
    _check_end(n_read, promised, sound.extra_info)
    if resampler:
        parts.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    return np.concatenate(parts, dtype=np.float32)


def _blocks(sound: Any) -> Iterator[Signal]:
    """Yield the mean of the channels, (n,) at a time. Raises RejectError for NaN."""
    n_frames = max(1, _BLOCK // sound.channels)
    while len(block := sound.read(n_frames, dtype="float32", always_2d=True)):
        with np.errstate(all="ignore"):  # what overflows is refused below
            mono: Signal = block[:, 0] if block.shape[1] == 1 else block.mean(1, np.float32)
        if not np.isfinite(mono).all():
            raise RejectError("the recording holds NaN or infinite samples")
        yield mono


def _check_length(n: int, native: int) -> None:
    if n == _UNKNOWN:
        raise RejectError("its header does not say how long it is; convert it")
    if n > _LONGEST * native:
        raise RejectError(f"longer than {_LONGEST // 60} minutes; cut it into parts")


def _check_end(n_read: int, promised: int, notes: str) -> None:
    """Raise RejectError where samples are missing at the end, or all of them."""
    in_bytes = [(int(there), int(claim)) for claim, there in _BYTES.findall(notes)]
    for there, claim in [(n_read, promised), *in_bytes]:
        if there < _WHOLE * claim and claim < _STREAMED:
            raise RejectError(f"cut off: {there / claim:.0%} of what its header promises")
    if _NO_END.search(notes):
        raise RejectError("cut off: the last page is not whole")
    if not n_read:
        raise RejectError("the recording holds no samples")
