"""The way from the disk to a batch of rows, for files that are not in memory.

A page fault waits for the disk, one page at a time, while the disk could serve many at once. So the
system is told of a whole batch before its first row is read. And as a disk reads many pages in
sequence in the time of one at random, every batch brings in a piece of the file too, for about as
long again, until the whole file is in memory and in the map, and batches are left alone. How long
a batch took tells whether its rows came from the disk: where they did not, none are announced.
"""

import mmap
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from xmg.cache import FeatureFile
from xmg.cache.memory import free_memory
from xmg.cache.pairs import Rows

_PIECE: Final = 1 << 16  # bytes to read in sequence for each row that is read at random
_STEP: Final = 1 << 22  # bytes in one call, which holds the interpreter's lock
_ROW_SECONDS: Final = 5e-6  # from memory a row takes less, even on a page that the map never met
_BYTE_SECONDS: Final = 1e-9
_SHARE: Final = 0.5  # of the free memory that a whole file may take
_POPULATE: Final = 22 if sys.platform == "linux" else None  # MADV_POPULATE_READ, Linux 5.14


@dataclass(slots=True)
class Loading:
    """The features of a file are bytes `start` to `stop`; those before `at` are in memory."""

    start: int
    stop: int
    at: int
    row_bytes: int
    fits: bool  # in memory, with room to spare
    slow: bool = True  # whether the last rows came from the disk; until there are any, perhaps

    @property
    def done(self) -> bool:
        """Whether batches need no more help."""
        return self.at >= self.stop


def loading_of(file: FeatureFile) -> Loading:
    """How to begin with a file; at once done where the system takes no advice."""
    start, (n_rows, dim), dtype = file.extents["features"]
    n_bytes = n_rows * dim * dtype.itemsize
    loading = Loading(start, start + n_bytes, start, dim * dtype.itemsize, True)
    if not n_bytes or not hasattr(mmap, "MADV_RANDOM"):
        loading.at = loading.stop
    else:
        loading.fits = n_bytes <= _SHARE * free_memory()
        file.advise(mmap.MADV_RANDOM, start, n_bytes)  # a fault brings its page, not all around
    return loading


def bring(file: FeatureFile, loading: Loading, rows: Rows) -> None:
    """Have the disk bring rows (n,), and a piece of the file where it fits in memory.

    Rows out of range are passed over: it is for the gather to refuse them.
    """
    width = loading.row_bytes
    for row in rows.tolist() if loading.slow else ():
        at = loading.start + row * width
        if loading.at < at + width <= loading.stop:
            file.advise(mmap.MADV_WILLNEED, at, width)
    if loading.fits:
        stop = min(loading.at + rows.size * _PIECE, loading.stop)
        for at in range(loading.at, stop, _STEP):
            _load(file, at, min(_STEP, stop - at))
        loading.at = stop


def learn(loading: Loading, n: int, seconds: float) -> None:
    """Take note of how long n rows took."""
    loading.slow = seconds > n * (_ROW_SECONDS + loading.row_bytes * _BYTE_SECONDS)


def _load(file: FeatureFile, at: int, n_bytes: int) -> None:
    """Bring bytes into the map, or at least tell that they will be read."""
    file.advise(mmap.MADV_NORMAL, at, n_bytes)
    with suppress(OSError):  # an older system; where the disk is bad, reading rows will tell
        if _POPULATE is not None:
            file.advise(_POPULATE, at, n_bytes)
            return
    with suppress(OSError):
        file.advise(mmap.MADV_WILLNEED, at, n_bytes)
