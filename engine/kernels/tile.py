"""The innermost product: a tile of rows by columns that stays in vector registers.

Compilers keep no tile of a plain loop in registers, which costs a load and a store for each
multiply-add; so the loop is written for LLVM, in vectors of COLUMNS that it maps to the machine's.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

ROWS, COLUMNS = 4, 16  # of a tile
Array = npt.NDArray[np.floating]


def multiply_add(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    c: Array,
    at_c: int,
    a: Array,
    at_a: int,
    by_row: int,
    by_step: int,
    b: Array,
    at_b: int,
    n: int,
    fresh: bool,
) -> None:
    """C = A B where `fresh`, else C + A B, for flat arrays that hold at the given places:

    C (ROWS, COLUMNS) and B (n, COLUMNS) row by row, A[r, k] at at_a + r by_row + k by_step.
    """
    place = at_a + np.arange(ROWS)[:, None] * by_row + np.arange(n) * by_step
    product = a[place] @ b[at_b : at_b + n * COLUMNS].reshape(n, COLUMNS)
    tile = c[at_c : at_c + ROWS * COLUMNS].reshape(ROWS, COLUMNS)
    tile[:] = product if fresh else tile + product


@overload(multiply_add, inline="always")
def _compiled(  # noqa: PLR0913, PLR0917 - as the kernel
    c: Any, at_c: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any, at_b: Any, n: Any,
    fresh: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        c: Any, at_c: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any, at_b: Any, n: Any,
        fresh: Any,
    ) -> None:  # fmt: skip
        _llvm(c, np.int64(at_c), a, np.int64(at_a), np.int64(by_row), np.int64(by_step), b,
              np.int64(at_b), np.int64(n), fresh)  # type: ignore[call-arg]  # fmt: skip

    return call


@intrinsic
def _llvm(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, c, at_c, a, at_a, by_row, by_step, b, at_b, n, fresh
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _Emitter(context, builder, signature, arguments).emit()
        return context.get_dummy_value()

    return types.void(c, at_c, a, at_a, by_row, by_step, b, at_b, n, fresh), emit


class _Emitter:
    """Writes the loop over k: ROWS broadcasts of A, each times one row of B."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        c, at_c, a, at_a, by_row, self.by_step, b, at_b, self.n, self.fresh = arguments
        kinds = signature.args

        def start(i: int, array: Any, place: Any) -> Any:
            made = context.make_array(kinds[i])(context, builder, array)
            return builder.gep(made.data, [place])

        self.builder = builder
        self.c, self.a, self.b = start(0, c, at_c), start(2, a, at_a), start(6, b, at_b)
        self.index = ir.IntType(64)
        self.vector = ir.VectorType(context.get_value_type(kinds[0].dtype), COLUMNS)
        self.align = kinds[0].dtype.bitwidth // 8
        self.rows = [builder.mul(by_row, self.index(r)) for r in range(ROWS)]

    def emit(self) -> None:
        b = self.builder
        zero = ir.Constant(self.vector, [0.0] * COLUMNS)
        places = [self._vector_at(self.c, self.index(r * COLUMNS)) for r in range(ROWS)]
        held = [b.load(place, align=self.align) for place in places]
        begin = [b.select(self.fresh, zero, value) for value in held]
        before = b.block
        head, body, end = (b.append_basic_block(name) for name in ("head", "body", "end"))
        b.branch(head)
        b.position_at_end(head)
        k = b.phi(self.index)
        k.add_incoming(self.index(0), before)
        sums = [b.phi(self.vector) for _ in range(ROWS)]
        for value, first in zip(sums, begin, strict=True):
            value.add_incoming(first, before)
        b.cbranch(b.icmp_signed("<", k, self.n), body, end)
        b.position_at_end(body)
        after = self._step(k, sums)
        k.add_incoming(b.add(k, self.index(1)), b.block)
        for value, new in zip(sums, after, strict=True):
            value.add_incoming(new, b.block)
        b.branch(head)
        b.position_at_end(end)
        for value, place in zip(sums, places, strict=True):
            b.store(value, place, align=self.align)

    def _step(self, k: Any, sums: list[Any]) -> list[Any]:
        """sums[r] + A[r, k] B[k], each multiply-add rounded once where the machine can."""
        b = self.builder
        place = self._vector_at(self.b, b.mul(k, self.index(COLUMNS)))
        row = b.load(place, align=self.align)
        column = b.gep(self.a, [b.mul(k, self.by_step)])
        fuse = ("contract",)
        spread = [self._spread(b.load(b.gep(column, [place]))) for place in self.rows]
        return [
            b.fadd(value, b.fmul(x, row, flags=fuse), flags=fuse)
            for value, x in zip(sums, spread, strict=True)
        ]

    def _vector_at(self, start: Any, place: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(start, [place]), self.vector.as_pointer())

    def _spread(self, value: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)
        return self.builder.shuffle_vector(first, nothing, lanes)
