"""Open damaged files in a process of its own: fuzz_worker.py FOLDER FIRST STOP.

Mutation numbers FIRST, ..., STOP - 1 of the files in FOLDER; numbers below 0 are the files
themselves, which others have edited. FOLDER/at names the one at work, for whoever survives;
FOLDER/problems gets a line for each that raised something else than XmgError.
"""

import functools
import json
import os
import resource
import signal
import sys
import traceback
import tracemalloc
from pathlib import Path

import mutations
import numpy as np

from xmg.cache import FeatureFile, XmgError
from xmg.cache.hdf5 import structures
from xmg.cache.verify import damages

SECONDS = 20  # for one file, before SIGALRM ends the process
DATA_BYTES = 64 << 20  # beyond what the imports took
OPEN_BYTES, USE_BYTES = 1 << 17, 1 << 20  # of Python and NumPy, beyond the size of the file


def touch(file: FeatureFile) -> None:
    """Look at everything that a feature file has."""
    n = len(file)
    assert file.labels.shape == (n,) and file.class_offsets.shape == (len(file.classes) + 1,)
    for c in range(len(file.classes)):
        file.rows_of(c)
    for name in file.names:
        if name.startswith("columns/"):
            file.texts(name)
    file.texts("ids")
    assert isinstance(file.rejects, list) and isinstance(file.provenance["versions"], dict)
    if n:
        file.take(np.array([0, n - 1, n // 2]))
    (file.frames if file.is_sequence else file.features).sum()
    assert file.contents.shape in ((n, 2), (0, 2))
    list(damages(file))


def look(path: Path, size: int, traced: bool) -> str:
    """Open and use one file; returns what is wrong with how that went, or an empty string."""
    before = tracemalloc.get_traced_memory()[0]
    try:
        file = FeatureFile(path)
        if traced and tracemalloc.get_traced_memory()[1] - before > size + OPEN_BYTES:
            return f"{tracemalloc.get_traced_memory()[1] - before} bytes to open {size}"
        touch(file)
        if traced and tracemalloc.get_traced_memory()[1] - before > size + USE_BYTES:
            return f"{tracemalloc.get_traced_memory()[1] - before} bytes to use {size}"
    except XmgError as error:
        text = str(error)
        good = str(path) in text and text.replace("\n", "").isprintable() and "fix: " in text
        return "" if good else f"says {text!r}"
    except BaseException as error:
        return "".join(traceback.format_exception(error))
    return ""


def main(folder: Path, first: int, stop: int) -> None:
    structures.lookup3 = functools.lru_cache(1000)(structures.lookup3)  # the same bytes come often
    np.seterr(all="ignore")
    files = sorted(folder.glob("*.h5"))
    whole = [path.read_bytes() for path in files[:2]]
    signed = [mutations.structures(content) for content in whole]
    status = Path("/proc/self/status").read_text()
    limit = DATA_BYTES + 1024 * int(status.split("VmData:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    at = os.open(folder / "at", os.O_RDWR | os.O_CREAT)
    path = folder / "mutated"
    problems = []
    for number in range(first, stop):
        os.pwrite(at, b"%12d" % number, 0)
        content = (
            files[number].read_bytes() if number < 0 else mutations.mutated(whole, signed, number)
        )
        path.write_bytes(content)
        traced = number % 16 == 0
        if traced:
            tracemalloc.start()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        wrong = look(path, len(content), traced)
        signal.setitimer(signal.ITIMER_REAL, 0)
        tracemalloc.stop()
        if wrong:
            problems.append((number, wrong))
    (folder / "problems").write_text(json.dumps(problems))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
