"""eSpeak NG speech synthesis through the library that `espeakng-loader` carries.

The synthesizer keeps hidden state from one utterance to the next (flutter, noise), so only the
same utterances in the same order in a fresh process give the same samples. Hence a worker:
`python -m xmg.extract.sources.espeak JOBS.json FOLDER` speaks one list of utterances in order
and prints a line after each file.
"""

import ctypes
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypedDict

import espeakng_loader
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from xmg.cache import XmgError

RATE_HZ: Final = 16_000
_SYNCHRONOUS, _NO_EXIT = 2, 0x8000
_UTF8, _BY_CHARACTER = 1, 1
_SPEED, _PITCH = 1, 3  # parameter numbers of espeak_SetParameter
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Utterance(TypedDict):
    """One file to speak: words per minute in [80, 450], pitch in [0, 99]."""

    path: str
    text: str
    voice: str
    speed: int
    pitch: int
    seed: int


class Synthesizer:
    """The one synthesizer of this process. Raises XmgError where the library cannot start."""

    def __init__(self) -> None:
        self._library = _load_library()
        data = str(espeakng_loader.get_data_path())
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _NO_EXIT)
        if self._rate <= 0:
            raise XmgError(
                f"eSpeak NG cannot read its voices in {data} (paths over 150 characters fail). "
                "fix: pip install --force-reinstall espeakng-loader, in a shorter path"
            )
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._callback = _CALLBACK(self._receive)  # kept: C holds only the pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, utterance: Utterance) -> npt.NDArray[np.float32]:
        """Synthesize to float32 mono (n,) in [-1, 1] at RATE_HZ."""
        self._chunks.clear()
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(utterance["seed"]))
        if self._library.espeak_SetVoiceByName(utterance["voice"].encode()):
            raise XmgError(f"this eSpeak NG has no voice {utterance['voice']!r}")
        self._library.espeak_SetParameter(_SPEED, utterance["speed"], 0)
        self._library.espeak_SetParameter(_PITCH, utterance["pitch"], 0)
        text = utterance["text"].encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, _BY_CHARACTER, 0, _UTF8, None, None)
        if not self._chunks:
            raise XmgError(f"eSpeak NG stayed silent on {utterance['text']!r}")
        samples = np.concatenate(self._chunks).astype(np.float32) / 32768
        spoken: npt.NDArray[np.float32] = soxr.resample(samples, self._rate, RATE_HZ)
        return spoken

    def _receive(self, samples: Any, n: int, _events: Any) -> int:
        if samples and n > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 0


def speak_all(utterances: Iterable[Utterance], root: Path) -> Iterable[Path]:
    """Write each utterance as 16-bit FLAC under `root`, in order; yields the files."""
    synthesizer = Synthesizer()
    for utterance in utterances:
        path = root / utterance["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.clip(synthesizer.speak(utterance), -1, 1)
        soundfile.write(path, samples, RATE_HZ, format="FLAC", subtype="PCM_16")
        yield path


def _load_library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    if not hasattr(library, "espeak_ng_SetRandSeed"):
        raise XmgError(
            "this eSpeak NG cannot be seeded (older than 1.52). "
            "fix: pip install --upgrade espeakng-loader"
        )
    return library


if __name__ == "__main__":
    for _ in speak_all(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])):
        print(flush=True)
