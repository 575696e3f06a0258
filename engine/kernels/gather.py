"""Copy rows of a memory map into a contiguous batch."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import for_range_slice
from numba.extending import intrinsic, overload

_LINE: Final = 64  # bytes of a cache line
_AHEAD: Final = 8192  # bytes between the line that is copied and the one that is asked for
Words = npt.NDArray[Any]


@njit(cache=True, nogil=True)
def gather(table: Words, rows: npt.NDArray[np.int64], out: Words) -> int:
    """out[i] = table[rows[i]] for raw words: table (N, D), rows (n,), out (n, D).

    Returns n, or the first i whose row is not in [0, N): then nothing is copied.
    """
    n = np.uint64(table.shape[0])
    for i in range(rows.size):
        if np.uint64(rows[i]) >= n:  # a negative row becomes a huge one
            return i
    width = table.shape[1] * table.itemsize
    ahead = max(2, _AHEAD // max(width, 1))  # rows
    whole = width // _LINE * _LINE // table.itemsize  # words
    for i in range(rows.size):
        copy_lines(out, i, table, rows[i], rows[min(i + ahead, rows.size - 1)], whole)
        for j in range(whole, table.shape[1]):
            out[i, j] = table[rows[i], j]
    return rows.size


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
    """Emit LLVM's prefetch for reading once, near and nowhere else: a hint that never faults."""
    pointer = builder.inttoptr(address, ir.IntType(8).as_pointer())
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
    builder.call(prefetch, [pointer, i32(0), i32(0), i32(1)])
