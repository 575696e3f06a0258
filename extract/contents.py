"""A digest of what each input holds, so that changed inputs are told from known ones."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from xmg.cache import XmgError
from xmg.cache.identity import Contents, content_digest
from xmg.cache.ranks import ALONE, Ranks
from xmg.extract.types import Content, Sample

_AT_ONCE: Final = 256  # inputs that a thread takes
_PARTS: Final = 16  # of a large file
_PART_BYTES: Final = 4096
_UNREADABLE: Final = (0, 0)


def digests(samples: Sequence[Sample], n_workers: int, ranks: Ranks = ALONE) -> Contents:
    """128 bits of BLAKE2b for each sample (N, 2): its text, its pixels, or its file.

    A file up to 64 KiB is read whole. Of a larger one the digest covers its size and 16 parts of
    4 KiB at equal distances, first and last included: reading all of a large data set would take
    about as long as extracting it. Each of several processes reads its share. Raises XmgError
    where they do not list the same number of inputs.
    """
    places = ranks.share(range(len(samples)))
    read = np.empty((len(places), 2), np.uint64)

    def fill(first: int) -> None:
        for i in range(first, min(first + _AT_ONCE, len(places))):
            read[i] = _digest(samples[places[i]].content)

    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(fill, range(0, len(places), _AT_ONCE)))
    return _gathered(read, len(samples), ranks)


def _gathered(read: Contents, n: int, ranks: Ranks) -> Contents:
    """Put together what each process read, every size-th input from its rank on."""
    parts = ranks.exchange((n, read))
    counts = sorted({count for count, _ in parts})
    if len(counts) > 1:
        raise XmgError(
            f"the processes list different data, {counts[0]:,} and {counts[-1]:,} inputs. fix: "
            "give all of them the same folder, and wait until nothing is written there any more"
        )
    found = np.empty((n, 2), np.uint64)
    for rank, (_, part) in enumerate(parts):
        found[rank :: ranks.size] = part
    return found


def _digest(content: Content) -> tuple[int, int]:
    if isinstance(content, Path):
        return _file_digest(content)
    if isinstance(content, str):
        return content_digest(b"text", content.encode("utf-8", "surrogatepass"))
    return content_digest(repr(content.shape).encode(), content.tobytes())


def _file_digest(path: Path) -> tuple[int, int]:
    try:
        if not path.is_file():  # a pipe would never end; the decoder says what is wrong with it
            return _UNREADABLE
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= _PARTS * _PART_BYTES:
                return content_digest(b"file", file.read())
            step = (size - _PART_BYTES) / (_PARTS - 1)
            parts = [os.pread(file.fileno(), _PART_BYTES, int(i * step)) for i in range(_PARTS)]
            return content_digest(b"large", str(size).encode(), *parts)
    except OSError:
        return _UNREADABLE
