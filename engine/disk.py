"""The way from the disk to a batch of rows, for files that are not in memory.

A page fault waits for the disk, one page at a time, while the disk could serve many at once. So
where rows come from the disk, the system is told of a whole batch before its first row is read,
and meanwhile a thread brings in the whole file. What a gather took tells whether that is needed:
where rows are in the page cache none of it runs.

A file too large for memory is not read through its map at all: each row would be on a page that
the map has not met yet, and to enter it costs more than to read it.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final
from weakref import WeakKeyDictionary, finalize, ref

from xmg.cache import FeatureFile
from xmg.cache.layout import STRUCTURE
from xmg.cache.pairs import Rows
from xmg.engine.kernels.syscalls import announce_rows

_STEP: Final = 1 << 20  # small, so that a batch of random rows never waits long behind it
_CALL_SECONDS: Final = 1e-4
_ROW_SECONDS: Final = 5e-6  # from memory a row takes less, even on pages met for the first time
_BYTE_SECONDS: Final = 1e-9
_SHARE: Final = 0.5  # of the free memory that a whole file may take


@dataclass(slots=True)
class Disk:
    """What is known of a file on its disk; its rows begin at byte `offset`."""

    fd: int
    offset: int
    n_rows: int
    width: int  # bytes of a row
    fits: bool  # in memory, with room to spare
    slow: bool = True  # whether the last rows came from the disk; until there are any, perhaps
    loading: bool = False  # or loaded


_disks: WeakKeyDictionary[FeatureFile, Disk | None] = WeakKeyDictionary()


def disk_of(file: FeatureFile) -> Disk | None:
    """The file's entry; None where the system takes no advice, or another file has its path."""
    if file not in _disks:
        _disks[file] = _open(file) if hasattr(os, "posix_fadvise") else None
    return _disks[file]


def announce(disk: Disk, rows: Rows) -> None:
    """Tell the system that rows (n,) are about to be read, where the last ones came slowly.

    Rows out of range are passed over: it is for the gather to refuse them.
    """
    if disk.slow:
        announce_rows(disk.fd, disk.offset, disk.n_rows, rows, disk.width)


def learn(disk: Disk, file: FeatureFile, n: int, seconds: float) -> None:
    """Take note of how long n rows took; the first slow ones have the whole file brought in."""
    expected = _CALL_SECONDS + n * (_ROW_SECONDS + disk.width * _BYTE_SECONDS)
    disk.slow = seconds > expected
    if disk.slow and disk.fits and not disk.loading:
        disk.loading = True
        stop = disk.offset + disk.n_rows * disk.width
        span = range(disk.offset, stop, _STEP)
        Thread(target=_load, args=(os.dup(disk.fd), span, ref(file)), daemon=True).start()


def free_memory() -> int:
    """Bytes that programs can have without swapping; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields.get("MemAvailable", "0").split()[0]) << 10


def _open(file: FeatureFile) -> Disk | None:
    offset, (n_rows, dim), dtype = file.extents["features"]
    width = dim * dtype.itemsize
    try:
        fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if not _is_same(fd, file):
        os.close(fd)
        return None
    finalize(file, os.close, fd)
    return Disk(fd, offset, n_rows, width, n_rows * width < _SHARE * free_memory())


def _is_same(fd: int, file: FeatureFile) -> bool:
    """Whether a path still leads to what was mapped: the checksum of all checksums tells."""
    sums = file.array(STRUCTURE)
    with suppress(OSError):
        found = os.pread(fd, sums.nbytes, file.extents[STRUCTURE][0])
        return len(found) == sums.nbytes and found == sums.tobytes()
    return False


def _load(fd: int, span: range, alive: Callable[[], object]) -> None:
    """Read a file into the page cache, step by step, as long as somebody has it open."""
    with suppress(OSError), open(fd, "rb"):  # it is for the gather to report a bad disk
        for at in span:
            if alive() is None:
                return
            os.posix_fadvise(fd, at, _STEP, os.POSIX_FADV_WILLNEED)
            os.pread(fd, 1, min(at + _STEP, span.stop) - 1)  # advice alone fills the disk's queue
