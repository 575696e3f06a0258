"""The demo corpus: strongly paired text and speech in 89 languages, made on the spot.

A small real counterpart of the paper's text -> speech task (CMU Wilderness, language
identification). A sample is three place names in one language: its text from CLDR (Babel), its
speech by eSpeak NG in one of 12 voices at a drawn speed and pitch. The same seed gives the
same files, whatever the number of worker processes.
"""

import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import babel
import numpy as np
from babel import Locale, UnknownLocaleError

from xmg.cache import XmgError
from xmg.cache.writing import disk
from xmg.extract.cores import cores
from xmg.extract.sources.espeak import Utterance

# Languages with at least 150 CLDR place names that eSpeak NG can read in their own script.
LANGUAGES: Final = tuple(
    "af am an ar az be bg bn bs ca cs cv cy da de el en eo es et eu fa fi fr ga gd gu he hi hr "
    "ht hu hy ia id is it ja ka kk kl kn ko ku ky la lb lt lv mi mk ml mr ms mt my nb ne nl om "
    "or pa pap pl pt qu ro ru sd si sk sl sq sr sv sw ta te th ti tk tr tt ug uk ur uz vi "
    "yue".split()
)
VOICES: Final = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5")
_NAMES_PER_SAMPLE = 3
_CHUNKS = 8  # fixed: a chunk is spoken by one fresh process, in order


class Corpus(NamedTuple):
    """The two manifests of the corpus; equal ids are pairs."""

    text: Path  # columns id, text, label
    speech: Path  # columns id, path, label


def make_corpus(
    root: Path,
    *,
    seed: int = 0,
    n_samples: int = 50,
    n_workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Corpus:
    """Write `n_samples` pairs for each language under `root`, unless they are there already.

    progress(done, total) is called after each spoken file. Raises XmgError where `root` holds
    a corpus made with other settings, or speech synthesis fails.
    """
    corpus = Corpus(root / "text.csv", root / "speech.csv")
    settings = {"seed": seed, "n_samples": n_samples, "languages": LANGUAGES, "voices": VOICES}
    if _is_made(root / "corpus.json", json.loads(json.dumps(settings))):
        return corpus
    samples = [s for i, name in enumerate(LANGUAGES) for s in _draw(i, name, n_samples, seed)]
    root.mkdir(parents=True, exist_ok=True)  # where that fails it is not the speech that fails
    _speak(samples, root, n_workers or cores(), progress or (lambda done, total: None))
    _write_csv(corpus.text, "text", [(_id(s), s["text"]) for s in samples])
    _write_csv(corpus.speech, "path", [(_id(s), s["path"]) for s in samples])
    disk.write_file(root / "corpus.json", json.dumps(settings).encode())  # marks a whole corpus
    return corpus


def _is_made(marker: Path, settings: object) -> bool:
    if not marker.exists():
        return False
    if json.loads(marker.read_text()) != settings:
        raise XmgError(
            f"{marker.parent} holds a corpus made with other settings. fix: choose another folder"
        )
    return True


def _draw(index: int, language: str, n_samples: int, seed: int) -> list[Utterance]:
    """Draw the samples of one language: texts, voices, speeds and pitches."""
    names = _place_names(language)
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    return [
        Utterance(
            path=f"speech/{language}/{i:03d}.flac",
            text=", ".join(rng.choice(names, _NAMES_PER_SAMPLE, replace=False).tolist()),
            voice=f"{language}+{rng.choice(VOICES)}",
            speed=int(rng.integers(150, 211)),
            pitch=int(rng.integers(35, 66)),
            seed=int(rng.integers(1, 2**31)),
        )
        for i in range(n_samples)
    ]


def _place_names(language: str) -> list[str]:
    """CLDR names of countries and territories, without those that are only a code.

    Raises XmgError where this release of Babel has too few: 2.18 alone has some for Haitian.
    """
    try:
        territories = dict(Locale.parse(language).territories)
    except UnknownLocaleError:
        territories = {}
    names = sorted({n for code, n in territories.items() if code.isalpha() and n != code})
    if len(names) < _NAMES_PER_SAMPLE:
        raise XmgError(
            f"Babel {babel.__version__} knows {len(names)} place names in the language "
            f"{language!r}; the corpus is made of those of 2.18. fix: pip install 'babel==2.18.*'"
        )
    return names


def _speak(
    samples: list[Utterance], root: Path, n_workers: int, progress: Callable[[int, int], None]
) -> None:
    """Speak fixed chunks of the samples, each in a process of its own."""
    done = iter(range(1, len(samples) + 1))

    def run(chunk: list[Utterance], jobs: Path) -> None:
        jobs.write_text(json.dumps(chunk))
        command = [sys.executable, "-m", "xmg.extract.sources.espeak", str(jobs), str(root)]
        log = jobs.with_suffix(".log")  # a pipe that nobody reads would fill and stall the worker
        with (
            log.open("wb") as stderr,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as worker,
        ):
            assert worker.stdout
            for _ in worker.stdout:
                progress(next(done), len(samples))
        errors = log.read_text(errors="replace").strip()
        if worker.returncode:
            last = errors.splitlines()[-1] if errors else f"exit status {worker.returncode}"
            raise XmgError(f"speech synthesis failed: {last}")

    chunks = [samples[i::_CHUNKS] for i in range(_CHUNKS)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(n_workers) as pool:
        jobs = [Path(folder) / f"{i}.json" for i in range(_CHUNKS)]
        list(pool.map(run, chunks, jobs))


def _id(sample: Utterance) -> str:
    """`de/007` from `speech/de/007.flac`."""
    return sample["path"].removeprefix("speech/").removesuffix(".flac")


def _write_csv(path: Path, content: str, rows: list[tuple[str, str]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", content, "label"])
        writer.writerows((name, value, name.split("/")[0]) for name, value in rows)
