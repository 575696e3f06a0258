"""The innermost product: a tile of rows by columns that stays in vector registers.

Compilers keep no tile of a plain loop in registers, which costs a load and a store for each
multiply-add; so the loop is written for LLVM, in vectors of COLUMNS that it maps to the machine's.
A tile takes as many registers as keep the multipliers busy: in single precision 8 of AVX2's 16, 16
of AVX-512's 32.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic, overload

ROWS: Final = 4  # of a tile
# What Numba compiles for, and keeps its cache by: not always the machine it runs on.
_FEATURES: Final = cpu_target.target_context.codegen().magic_tuple()[2]
LANES: Final = 16 if "+avx512f" in _FEATURES else 8  # single-precision numbers of a register
COLUMNS: Final = LANES * (4 if LANES == 16 else 2)
Array = npt.NDArray[np.floating]


def padded(n: int, to: int) -> int:
    """n rounded up to a multiple."""
    return -(-n // to) * to


def whole(x: Array) -> Array:
    """x (d, w) itself where it is made of whole tiles, else a copy with zeros around it."""
    d, w = x.shape
    if d % ROWS == w % COLUMNS == 0:
        return x
    wider = np.zeros((padded(d, ROWS), padded(w, COLUMNS)), x.dtype)
    wider[:d, :w] = x
    return wider


def multiply_add(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    c: Array,
    at_c: int,
    by_c: int,
    a: Array,
    at_a: int,
    by_row: int,
    by_step: int,
    b: Array,
    at_b: int,
    by_b: int,
    n: int,
) -> None:
    """C <- C + A B for flat arrays that hold at the given places:

    C[r, j] at at_c + r by_c + j for ROWS by COLUMNS, A[r, k] at at_a + r by_row + k by_step, and
    B[k, j] at at_b + k by_b + j for n by COLUMNS.
    """
    row, column = np.arange(ROWS)[:, None], np.arange(COLUMNS)
    k = np.arange(n)
    place = at_c + row * by_c + column
    c[place] += a[at_a + row * by_row + k * by_step] @ b[at_b + k[:, None] * by_b + column]


@overload(multiply_add, inline="always")
def _compiled(  # noqa: PLR0913, PLR0917 - as the kernel
    c: Any, at_c: Any, by_c: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any, at_b: Any,
    by_b: Any, n: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        c: Any, at_c: Any, by_c: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any,
        at_b: Any, by_b: Any, n: Any,
    ) -> None:  # fmt: skip
        _llvm(c, np.int64(at_c), np.int64(by_c), a, np.int64(at_a), np.int64(by_row),
              np.int64(by_step), b, np.int64(at_b), np.int64(by_b), np.int64(n))  # type: ignore[call-arg]  # fmt: skip

    return call


@intrinsic
def _llvm(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, c, at_c, by_c, a, at_a, by_row, by_step, b, at_b, by_b, n
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = Places(context, builder, signature.args, arguments)
        rows = [at.vector_at(row) for row in at.rows(0, arguments[1], arguments[2])]
        begin = [at.load(row) for row in rows]
        for value, row in zip(product(at, 3, begin), rows, strict=True):
            at.store(value, row)
        return context.get_dummy_value()

    return types.void(c, at_c, by_c, a, at_a, by_row, by_step, b, at_b, by_b, n), emit


class Places:
    """Vectors in flat arrays, of `lanes` numbers each, for a function that is being written."""

    def __init__(
        self, context: Any, builder: Any, kinds: Any, arguments: Any, lanes: int = COLUMNS
    ) -> None:
        self.context, self.builder, self.kinds, self.arguments = context, builder, kinds, arguments
        self.index, self.lanes = ir.IntType(64), lanes
        self.vector = ir.VectorType(context.get_value_type(kinds[0].dtype), lanes)
        self.align = kinds[0].dtype.bitwidth // 8

    def start(self, i: int, place: Any) -> Any:
        """Where the array that is argument i holds the number at a place."""
        made = self.context.make_array(self.kinds[i])(self.context, self.builder, self.arguments[i])
        return self.builder.gep(made.data, [place])

    def rows(self, i: int, place: Any, stride: Any) -> list[Any]:
        """The starts of the rows of a tile of argument i."""
        first = self.start(i, place)
        steps = [self.builder.mul(stride, self.index(r)) for r in range(ROWS)]
        return [self.builder.gep(first, [step]) for step in steps]

    def vector_at(self, start: Any, place: Any = None) -> Any:
        """A pointer to the vector that begins so many numbers after a start."""
        start = start if place is None else self.builder.gep(start, [place])
        return self.builder.bitcast(start, self.vector.as_pointer())

    def load(self, pointer: Any) -> Any:
        """The vector at a pointer."""
        return self.builder.load(pointer, align=self.align)

    def store(self, value: Any, pointer: Any) -> None:
        """Write a vector."""
        self.builder.store(value, pointer, align=self.align)

    def same(self, value: float) -> Any:
        """A constant in all lanes."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def spread(self, value: Any) -> Any:
        """One number in all lanes."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, nothing, lanes)

    def part(self, vector: Any, start: int) -> Any:
        """The lanes of a longer vector that begin there."""
        lanes = ir.Constant(
            ir.VectorType(ir.IntType(32), self.lanes), [*range(start, start + self.lanes)]
        )
        return self.builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), lanes)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once where the machine can."""
        fuse = ("contract",)
        return self.builder.fadd(self.builder.fmul(a, b, flags=fuse), c, flags=fuse)


def product(at: Places, i: int, begin: list[Any]) -> list[Any]:
    """Write the loop over k: ROWS broadcasts of A, each times one row of B, added to `begin`.

    Arguments from i on are a, at_a, by_row, by_step, b, at_b, by_b, n as in `multiply_add`.
    """
    b, n = at.builder, at.arguments[i + 7]
    before = b.block
    head, body, end = (b.append_basic_block(name) for name in ("head", "body", "end"))
    b.branch(head)
    b.position_at_end(head)
    k = b.phi(at.index)
    k.add_incoming(at.index(0), before)
    sums = [b.phi(at.vector) for _ in range(ROWS)]
    for value, first in zip(sums, begin, strict=True):
        value.add_incoming(first, before)
    b.cbranch(b.icmp_signed("<", k, n), body, end)
    b.position_at_end(body)
    after = _step(at, i, k, sums)
    k.add_incoming(b.add(k, at.index(1)), b.block)
    for value, new in zip(sums, after, strict=True):
        value.add_incoming(new, b.block)
    b.branch(head)
    b.position_at_end(end)
    return sums


def _step(at: Places, i: int, k: Any, sums: list[Any]) -> list[Any]:
    """sums[r] + A[r, k] B[k]."""
    _, at_a, by_row, by_step, _, at_b, by_b = at.arguments[i : i + 7]
    b = at.builder
    row = at.load(at.vector_at(at.start(i + 4, at_b), b.mul(k, by_b)))
    column = b.gep(at.start(i, at_a), [b.mul(k, by_step)])
    places = [b.gep(column, [b.mul(by_row, at.index(r))]) for r in range(ROWS)]
    spread = [at.spread(b.load(place)) for place in places]
    return [at.multiply_add(x, row, value) for value, x in zip(sums, spread, strict=True)]
