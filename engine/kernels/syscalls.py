"""Read and announce rows of a file by system calls, many of them without the interpreter's lock.

From Python each call would hand the lock over and wait to have it back, beside a training loop
for milliseconds.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import overload

Rows = npt.NDArray[np.int64]
_pread: Any = types.ExternalFunction(
    "pread", types.intp(types.intc, types.intp, types.uintp, types.int64)
)
_posix_fadvise: Any = types.ExternalFunction(
    "posix_fadvise", types.intc(types.intc, types.int64, types.int64, types.intc)
)


@njit(cache=True, nogil=True)
def read_rows(fd: int, offset: int, n_rows: int, rows: Rows, out: npt.NDArray[Any]) -> int:
    """out[i] = row rows[i] of the n_rows that begin at byte `offset`: rows (n,), out (n, D).

    Returns n; or the first i whose row is not in [0, n_rows), and then reads nothing; or -1 - i
    where the system could not read row i whole.
    """
    for i in range(rows.size):
        if not 0 <= rows[i] < n_rows:
            return i
    width = out.shape[1] * out.itemsize
    for i in range(rows.size):
        if _read(fd, out[i], offset + rows[i] * width) != width:
            return -1 - i
    return rows.size


@njit(cache=True, nogil=True)
def announce_rows(fd: int, offset: int, n_rows: int, rows: Rows, width: int) -> None:
    """Tell the system that rows (n,) of `width` bytes will be read; those out of range are not."""
    for row in rows:
        if 0 <= row < n_rows:
            _announce(fd, offset + row * width, width)


def _read(fd: int, row: npt.NDArray[Any], at: int) -> int:
    return os.preadv(fd, [row.data], at)


def _announce(fd: int, at: int, n_bytes: int) -> None:
    os.posix_fadvise(fd, at, n_bytes, os.POSIX_FADV_WILLNEED)


@overload(_read)
def _compiled_read(fd: int, row: npt.NDArray[Any], at: int) -> Any:
    def call(fd: int, row: npt.NDArray[Any], at: int) -> int:
        n: int = _pread(fd, row.ctypes.data, row.size * row.itemsize, at)
        return n

    return call


@overload(_announce)
def _compiled_announce(fd: int, at: int, n_bytes: int) -> Any:
    kind = os.POSIX_FADV_WILLNEED

    def call(fd: int, at: int, n_bytes: int) -> None:
        _posix_fadvise(fd, at, n_bytes, kind)

    return call
