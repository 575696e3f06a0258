"""Bring rows of a feature file from the disk before a gather needs them.

A page fault waits for the disk, one page at a time, while the disk could serve many at once. So
where rows come from the disk, the system is told of a whole batch before its first row is read,
and meanwhile a thread brings in the whole file, if it fits in memory with room to spare. Where
rows are in the page cache nothing of this runs: what a gather took tells the two apart.
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
from xmg.cache.pairs import Rows

_STEP: Final = 1 << 20  # small, so that a batch of random rows never waits long behind it
_CALL_SECONDS: Final = 1e-4
_ROW_SECONDS: Final = 5e-6  # from memory a row takes less, even on pages met for the first time
_BYTE_SECONDS: Final = 1e-9
_SHARE: Final = 0.5  # of the free memory that a whole file may take


@dataclass(slots=True)
class _Disk:
    """What is known of the way to one file: an open descriptor, and whether rows came slowly."""

    fd: int
    slow: bool = True  # until the first rows say otherwise
    loading: bool = False  # or loaded


_disks: WeakKeyDictionary[FeatureFile, _Disk] = WeakKeyDictionary()


def announce(file: FeatureFile, rows: Rows) -> None:
    """Tell the system that rows (n,) are about to be read, where the last ones came slowly.

    Rows out of range are passed over: it is for the gather to refuse them.
    """
    disk = _disk_of(file)
    if disk is None or not disk.slow:
        return
    offset, (n_rows, dim), dtype = file.extents["features"]
    width = dim * dtype.itemsize
    for row in rows[(rows >= 0) & (rows < n_rows)].tolist():
        os.posix_fadvise(disk.fd, offset + row * width, width, os.POSIX_FADV_WILLNEED)


def learn(file: FeatureFile, n_rows: int, n_bytes: int, seconds: float) -> None:
    """Take note of how long a gather took; the first slow one has the whole file brought in."""
    disk = _disk_of(file)
    if disk is None or not n_rows:
        return
    expected = _CALL_SECONDS + n_rows * _ROW_SECONDS + n_bytes * _BYTE_SECONDS
    disk.slow = seconds > expected
    if disk.slow and not disk.loading:
        disk.loading = True
        start, stop = _span(file)
        if stop - start < _SHARE * free_memory():
            Thread(target=_load, args=(file.path, start, stop, ref(file)), daemon=True).start()


def free_memory() -> int:
    """Bytes that programs can have without swapping; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields.get("MemAvailable", "0").split()[0]) << 10


def _disk_of(file: FeatureFile) -> _Disk | None:
    """The file's entry; None where the system takes no advice or the file was moved away."""
    disk = _disks.get(file)
    if disk is None and hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            disk = _disks[file] = _Disk(os.open(file.path, os.O_RDONLY))
            finalize(file, os.close, disk.fd)
    return disk


def _span(file: FeatureFile) -> tuple[int, int]:
    """First and last byte of the features."""
    offset, (n_rows, dim), dtype = file.extents["features"]
    return offset, offset + n_rows * dim * dtype.itemsize


def _load(path: Path, start: int, stop: int, alive: Callable[[], object]) -> None:
    """Read a file into the page cache, step by step, as long as somebody has it open."""
    with suppress(OSError), open(path, "rb") as data:  # it is the gather that reports a bad disk
        fd = data.fileno()
        for at in range(start, stop, _STEP):
            if alive() is None:
                return
            os.posix_fadvise(fd, at, _STEP, os.POSIX_FADV_WILLNEED)
            os.pread(fd, 1, min(at + _STEP, stop) - 1)  # advice alone would fill the disk's queue
