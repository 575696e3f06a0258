"""A tile of a gradient that becomes an optimizer's step while it is still in vector registers.

A gradient G = A B of ROWS by COLUMNS weights is never stored, and while the weights and moments of
one tile come from memory, the processor multiplies for the next.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic, overload

from xmg.engine.kernels.tile import COLUMNS, LANES, ROWS, Places, product

Array = npt.NDArray[np.floating]
Step = Callable[[Any, Any, list[Any]], tuple[Any, list[Any]]]


def adam_tile(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    start: Array,
    w: Array,
    at_w: int,
    by_w: int,
    a: Array,
    at_a: int,
    by_row: int,
    by_step: int,
    b: Array,
    at_b: int,
    by_b: int,
    n: int,
    m: Array,
    v: Array,
    c: Array,
    first: bool,
) -> None:
    """A step of Adam by G = A B, on the tile of w, m and v at at_w + r by_w + j.

    A and B as in `tile.multiply_add`. The weights before the step are read from start; of the
    moments the first step reads nothing. Their scale, and c, are as in `sweep.adam_step`.
    """
    g, place = _gradient(at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n)
    m[place] = g + (0 if first else c[0] * m[place])
    v[place] = g * g + (0 if first else c[1] * v[place])
    w[place] = start[place] - c[2] * (m[place] / (np.sqrt(v[place]) * c[3] + c[4]))


def sgd_tile(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    start: Array,
    w: Array,
    at_w: int,
    by_w: int,
    a: Array,
    at_a: int,
    by_row: int,
    by_step: int,
    b: Array,
    at_b: int,
    by_b: int,
    n: int,
    m: Array,
    c: Array,
    first: bool,
) -> None:
    """The same of SGD: m <- momentum m + g + decay w, w <- w - rate m; c is (momentum, decay,
    rate)."""
    g, place = _gradient(at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n)
    m[place] = g + c[1] * start[place] + (0 if first else c[0] * m[place])
    w[place] = start[place] - c[2] * m[place]


def _gradient(  # noqa: PLR0913, PLR0917 - as the kernel
    at_w: int, by_w: int, a: Array, at_a: int, by_row: int, by_step: int, b: Array, at_b: int,
    by_b: int, n: int,
) -> tuple[Array, npt.NDArray[np.int64]]:  # fmt: skip
    """G and the places of its weights."""
    row, column, k = np.arange(ROWS)[:, None], np.arange(COLUMNS), np.arange(n)
    g = a[at_a + row * by_row + k * by_step] @ b[at_b + k[:, None] * by_b + column]
    return g, at_w + row * by_w + column


@overload(adam_tile, inline="always")
def _compiled_adam(  # noqa: PLR0913, PLR0917 - as the kernel
    start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any,
    at_b: Any, by_b: Any, n: Any, m: Any, v: Any, c: Any, first: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any,
        b: Any, at_b: Any, by_b: Any, n: Any, m: Any, v: Any, c: Any, first: Any,
    ) -> None:  # fmt: skip
        _adam(start, w, np.int64(at_w), np.int64(by_w), a, np.int64(at_a), np.int64(by_row),
              np.int64(by_step), b, np.int64(at_b), np.int64(by_b), np.int64(n), m, v, c,
              first)  # type: ignore[call-arg]  # fmt: skip

    return call


@overload(sgd_tile, inline="always")
def _compiled_sgd(  # noqa: PLR0913, PLR0917 - as the kernel
    start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any,
    at_b: Any, by_b: Any, n: Any, m: Any, c: Any, first: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any,
        b: Any, at_b: Any, by_b: Any, n: Any, m: Any, c: Any, first: Any,
    ) -> None:  # fmt: skip
        _sgd(start, w, np.int64(at_w), np.int64(by_w), a, np.int64(at_a), np.int64(by_row),
             np.int64(by_step), b, np.int64(at_b), np.int64(by_b), np.int64(n), m, c,
             first)  # type: ignore[call-arg]  # fmt: skip

    return call


@intrinsic
def _adam(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, v, c, first
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = Places(context, builder, signature.args, arguments, LANES)
        name = f"llvm.sqrt.v{LANES}f{at.align * 8}"
        kind = ir.FunctionType(at.vector, [at.vector])
        root = get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]

        def step(g: Any, before: Any, held: list[Any]) -> Any:
            keep_m, keep_v, size, scale, tiny = _constants(at, 14, 5)
            m = at.multiply_add(keep_m, held[0], g)
            v = at.multiply_add(keep_v, held[1], builder.fmul(g, g))
            below = at.multiply_add(builder.call(root, [v]), scale, tiny)
            return at.multiply_add(builder.fneg(size), builder.fdiv(m, below), before), [m, v]

        _write(at, Places(context, builder, signature.args, arguments), [12, 13], step)
        return context.get_dummy_value()

    kinds = start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, v, c, first
    return types.void(*kinds), emit


@intrinsic
def _sgd(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, c, first
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = Places(context, builder, signature.args, arguments, LANES)

        def step(g: Any, before: Any, held: list[Any]) -> Any:
            momentum, decay, rate = _constants(at, 13, 3)
            m = at.multiply_add(decay, before, at.multiply_add(momentum, held[0], g))
            return at.multiply_add(builder.fneg(rate), m, before), [m]

        _write(at, Places(context, builder, signature.args, arguments), [12], step)
        return context.get_dummy_value()

    kinds = start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, c, first
    return types.void(*kinds), emit


def _constants(at: Places, i: int, n: int) -> list[Any]:
    """The n numbers of argument i, each in all lanes: read where they are used, or so many would
    push sums out of the registers."""
    first = at.start(i, at.index(0))
    return [at.spread(at.builder.load(at.builder.gep(first, [at.index(j)]))) for j in range(n)]


def _write(at: Places, tile: Places, moments: list[int], step: Step) -> None:
    """Write the gradient, then `step` for each register of it: from gradient, weights and held
    moments to weights and moments. `moments` are their arguments, of which the first step, as the
    last argument says, reads zeros. `at` holds registers, `tile` rows of a tile.
    """
    gradient = product(tile, 4, [tile.same(0.0)] * ROWS)
    with at.builder.if_else(at.arguments[-1]) as (first, later):
        with first:
            _step_all(at, gradient, moments, step, lambda _: at.same(0.0))
        with later:
            _step_all(at, gradient, moments, step, at.load)


def _step_all(
    at: Places, gradient: list[Any], moments: list[int], step: Step, held: Callable[[Any], Any]
) -> None:
    """The steps of all registers; `held` tells the moments before, by their places."""
    _, _, at_w, by_w, *_ = at.arguments
    rows = [at.rows(i, at_w, by_w) for i in (0, 1, *moments)]
    for g, *pointers in zip(gradient, *rows, strict=True):
        for j in range(0, COLUMNS, LANES):
            start, *to = (at.vector_at(pointer, at.index(j)) for pointer in pointers)
            moved, kept = step(at.part(g, j), at.load(start), [held(place) for place in to[1:]])
            for value, place in zip([moved, *kept], to, strict=True):
                at.store(value, place)
