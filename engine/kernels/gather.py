"""Copy rows of a memory map into a contiguous batch."""

from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import for_range_slice
from numba.extending import intrinsic, overload

_LINE: Final = 64  # bytes of a cache line
_AHEAD: Final = 8192  # bytes between the line that is copied and the one that is asked for
_PIECE: Final = 1 << 18  # bytes that a thread takes at a time
Words = npt.NDArray[Any]
_lock = Lock()  # of threads of Python alone


@njit(cache=True, nogil=True)
def gather(table: Words, rows: npt.NDArray[np.int64], out: Words) -> int:
    """out[i] = table[rows[i]] for raw words: table (N, D), rows (n,), out (n, D).

    Returns n, or the first i whose row is not in [0, N): then nothing is copied.
    """
    done = n_within(table, rows)
    if done == rows.size:
        _copy_rows(table, rows, out, 0, rows.size)
    return done


@njit(cache=True, nogil=True)
def n_within(table: Words, rows: npt.NDArray[np.int64]) -> int:
    """How many of the rows come before the first that is not in [0, N)."""
    n = np.uint64(table.shape[0])
    for i in range(rows.size):
        if np.uint64(rows[i]) >= n:  # a negative row becomes a huge one
            return i
    return rows.size


@njit(cache=True, nogil=True)
def gather_together(
    table: Words, rows: npt.NDArray[np.int64], out: Words, taken: npt.NDArray[np.int64]
) -> None:
    """`gather` of rows that all exist, by any number of threads that share taken (1,), from 0: each
    takes the next piece until none is left, so that nobody waits for one that wakes up late."""
    piece = max(_PIECE // max(table.shape[1] * table.itemsize, 1), 1)
    while True:
        start = take(taken, piece)
        if start >= rows.size:
            return
        _copy_rows(table, rows, out, start, min(start + piece, rows.size))


@njit(cache=True, nogil=True)
def _copy_rows(
    table: Words, rows: npt.NDArray[np.int64], out: Words, start: int, stop: int
) -> None:
    width = table.shape[1] * table.itemsize
    ahead = max(2, _AHEAD // max(width, 1))  # rows
    whole = width // _LINE * _LINE // table.itemsize  # words
    for i in range(start, stop):
        copy_lines(out, i, table, rows[i], rows[min(i + ahead, stop - 1)], whole)
        for j in range(whole, table.shape[1]):
            out[i, j] = table[rows[i], j]


def take(taken: npt.NDArray[np.int64], n: int) -> int:
    """Add n to taken[0] as one indivisible step; returns what was there."""
    with _lock:
        before = int(taken[0])
        taken[0] += n
    return before


@overload(take, inline="always")
def _compiled_take(taken: Any, n: Any) -> Any:
    def call(taken: Any, n: Any) -> Any:
        return _add(taken.ctypes.data, np.int64(n))  # type: ignore[call-arg]

    return call


@intrinsic
def _add(typing: Any, address: Any, n: Any) -> Any:
    """Emit the atomic addition."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "monotonic")

    return types.int64(types.int64, types.int64), emit


def copy_lines(out: Words, i: int, table: Words, row: int, ahead: int, n_words: int) -> None:
    """out[i] = table[row] for the first words of both, whole cache lines of them.

    With each line the same one of row `ahead` is asked for: rows lie at random, and nothing else
    foresees them. Both arrays are row-major.
    """
    out[i, :n_words] = table[row, :n_words]


@overload(copy_lines, inline="always")
def _compiled(out: Any, i: Any, table: Any, row: Any, ahead: Any, n_words: Any) -> Any:
    def call(out: Any, i: Any, table: Any, row: Any, ahead: Any, n_words: Any) -> None:
        size = table.itemsize
        start, stride = table.ctypes.data, table.shape[1] * size
        _copy(
            out.ctypes.data + i * out.shape[1] * size,
            start + row * stride,
            start + ahead * stride,
            n_words * size,
        )  # type: ignore[call-arg] # numba passes the first argument

    return call


@intrinsic
def _copy(typing: Any, to: Any, source: Any, ahead: Any, n_bytes: Any) -> Any:
    """Emit the loop over cache lines, each one register where registers are as long."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        index, line = ir.IntType(64), ir.VectorType(ir.IntType(64), _LINE // 8)
        to, source, ahead, n_bytes = arguments
        with for_range_slice(builder, index(0), n_bytes, index(_LINE)) as (at, _):
            _prefetch(builder, builder.add(ahead, at))
            read, write = (
                builder.inttoptr(builder.add(x, at), line.as_pointer()) for x in (source, to)
            )
            builder.store(builder.load(read, align=1), write, align=1)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), emit


def _prefetch(builder: Any, address: Any) -> None:
    """Emit LLVM's prefetch into the second cache: a hint that never faults. One for data read once,
    which passes that cache by, halves the speed of Intel's processors and gains AMD's nothing.
    """
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(prefetch, [pointer, i32(0), i32(1), i32(1)])
