"""Copy rows of a memory map into a contiguous batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

_LINE = 64  # bytes that one prefetch brings
_LINES = 8  # prefetched of each row: from there on the processor foresees the rest
_AHEAD = 2  # rows


@njit(cache=True, nogil=True)
def gather(table: npt.NDArray[Any], rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> int:
    """out[i] = table[rows[i]] for raw words: table (N, D), rows (n,), out (n, D).

    Returns n, or the first i whose row is not in [0, N): then nothing is copied. Unsigned
    indices spare the test for negative ones in the inner loop, which then copies vectors.
    """
    n = np.uint64(table.shape[0])
    for i in range(rows.size):
        if np.uint64(rows[i]) >= n:  # a negative row becomes a huge one
            return i
    width = table.shape[1] * table.itemsize
    for i in range(rows.size):
        _prefetch_row(table, rows[min(i + _AHEAD, rows.size - 1)], min(width, _LINES * _LINE))
        source, target = table[np.uint64(rows[i])], out[np.uint64(i)]
        for j in range(source.size):
            target[j] = source[j]
    return rows.size


@njit(cache=True, nogil=True)
def _prefetch_row(table: npt.NDArray[Any], row: int, n_bytes: int) -> None:
    """Ask for the first bytes of a row: where rows are random, nothing else foresees them."""
    start = table.ctypes.data + row * table.strides[0]
    for line in range(0, n_bytes, _LINE):
        _prefetch(start + line)


def _prefetch(address: int) -> None:
    """Hint that the cache line at an address will be read; never faults. Not compiled: nothing."""


@intrinsic
def _llvm_prefetch(typing: Any, address: Any) -> Any:
    """Emit LLVM's prefetch for reading, to all levels of cache."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, i32, i32, i32])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(prefetch, [pointer, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@overload(_prefetch)
def _compiled_prefetch(address: Any) -> Any:
    def call(address: Any) -> None:
        _llvm_prefetch(address)  # type: ignore[call-arg] # numba passes the first argument

    return call
