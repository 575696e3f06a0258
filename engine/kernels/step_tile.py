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
    at_m: int,
    c: Array,
    first: bool,
) -> None:
    """A step of Adam by G = A B, on the tile of w at at_w + r by_w + j.

    A and B as in `tile.multiply_add`. The weights before the step are read from start. The moments
    m and v of a tile lie in a row, from at_m on, and the first step reads nothing of them. Their
    scale, and c, are as in `sweep.adam_step`.
    """
    g, place, kept = _gradient(at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, at_m)
    m[kept] = g + (0 if first else c[0] * m[kept])
    v[kept] = g * g + (0 if first else c[1] * v[kept])
    w[place] = start[place] - c[2] * (m[kept] / (np.sqrt(v[kept]) * c[3] + c[4]))


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
    at_m: int,
    c: Array,
    first: bool,
) -> None:
    """The same of SGD: m <- momentum m + g + decay w, w <- w - rate m; c is (momentum, decay,
    rate)."""
    g, place, kept = _gradient(at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, at_m)
    m[kept] = g + c[1] * start[place] + (0 if first else c[0] * m[kept])
    w[place] = start[place] - c[2] * m[kept]


def _gradient(  # noqa: PLR0913, PLR0917 - as the kernel
    at_w: int, by_w: int, a: Array, at_a: int, by_row: int, by_step: int, b: Array, at_b: int,
    by_b: int, n: int, at_m: int,
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.int64]]:  # fmt: skip
    """G, and the places of its weights and of their moments."""
    row, column, k = np.arange(ROWS)[:, None], np.arange(COLUMNS), np.arange(n)
    g = a[at_a + row * by_row + k * by_step] @ b[at_b + k[:, None] * by_b + column]
    return g, at_w + row * by_w + column, at_m + row * COLUMNS + column


@overload(adam_tile, inline="always")
def _compiled_adam(  # noqa: PLR0913, PLR0917 - as the kernel
    start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any,
    at_b: Any, by_b: Any, n: Any, m: Any, v: Any, at_m: Any, c: Any, first: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any,
        b: Any, at_b: Any, by_b: Any, n: Any, m: Any, v: Any, at_m: Any, c: Any, first: Any,
    ) -> None:  # fmt: skip
        _adam(start, w, np.int64(at_w), np.int64(by_w), a, np.int64(at_a), np.int64(by_row),
              np.int64(by_step), b, np.int64(at_b), np.int64(by_b), np.int64(n), m, v,
              np.int64(at_m), c, first)  # type: ignore[call-arg]  # fmt: skip

    return call


@overload(sgd_tile, inline="always")
def _compiled_sgd(  # noqa: PLR0913, PLR0917 - as the kernel
    start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any, b: Any,
    at_b: Any, by_b: Any, n: Any, m: Any, at_m: Any, c: Any, first: Any,
) -> Any:  # fmt: skip
    def call(  # noqa: PLR0913, PLR0917 - as the kernel
        start: Any, w: Any, at_w: Any, by_w: Any, a: Any, at_a: Any, by_row: Any, by_step: Any,
        b: Any, at_b: Any, by_b: Any, n: Any, m: Any, at_m: Any, c: Any, first: Any,
    ) -> None:  # fmt: skip
        _sgd(start, w, np.int64(at_w), np.int64(by_w), a, np.int64(at_a), np.int64(by_row),
             np.int64(by_step), b, np.int64(at_b), np.int64(by_b), np.int64(n), m,
             np.int64(at_m), c, first)  # type: ignore[call-arg]  # fmt: skip

    return call


@intrinsic
def _adam(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, v, at_m, c, first
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = Places(context, builder, signature.args, arguments, LANES)

        def step(g: Any, before: Any, held: list[Any]) -> Any:
            keep_m, keep_v, size, scale, tiny = _constants(at, 15, 5)
            m = at.multiply_add(keep_m, held[0], g)
            v = at.multiply_add(keep_v, held[1], builder.fmul(g, g))
            part = _divided(at, m, at.multiply_add(_root(at, v), scale, tiny))
            return at.multiply_add(builder.fneg(size), part, before), [m, v]

        _write(at, Places(context, builder, signature.args, arguments), [12, 13], step)
        return context.get_dummy_value()

    kinds = start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, v, at_m, c, first
    return types.void(*kinds), emit


@intrinsic
def _sgd(  # type: ignore[no-untyped-def] # noqa: PLR0913, PLR0917 - as the kernel
    typing, start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, at_m, c, first
):
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = Places(context, builder, signature.args, arguments, LANES)

        def step(g: Any, before: Any, held: list[Any]) -> Any:
            momentum, decay, rate = _constants(at, 14, 3)
            m = at.multiply_add(decay, before, at.multiply_add(momentum, held[0], g))
            return at.multiply_add(builder.fneg(rate), m, before), [m]

        _write(at, Places(context, builder, signature.args, arguments), [12], step)
        return context.get_dummy_value()

    kinds = start, w, at_w, by_w, a, at_a, by_row, by_step, b, at_b, by_b, n, m, at_m, c, first
    return types.void(*kinds), emit


def _root(at: Places, x: Any) -> Any:
    """The square root of x, where nothing depends on less than 10^-18.

    AVX-512's estimates of 14 bits, with a step of Newton each, take less than half of the time of
    divisions and roots on Intel's processors, and end within two roundings of them.
    """
    b = at.builder
    if not _estimates(at):
        return _call(at, f"llvm.sqrt.v{LANES}f{at.align * 8}", x)
    x = b.fadd(x, at.same(1e-37))  # of 0 the estimate is infinite
    inverse = _call(at, "llvm.x86.avx512.rsqrt14.ps.512", x)
    root = b.fmul(x, inverse)
    left = at.multiply_add(b.fneg(root), root, x)
    return at.multiply_add(left, b.fmul(inverse, at.same(0.5)), root)


def _divided(at: Places, x: Any, by: Any) -> Any:
    """x / by, as `_root` is."""
    b = at.builder
    if not _estimates(at):
        return b.fdiv(x, by)
    inverse = _call(at, "llvm.x86.avx512.rcp14.ps.512", by)
    found = b.fmul(x, inverse)
    return at.multiply_add(at.multiply_add(b.fneg(by), found, x), inverse, found)


def _estimates(at: Places) -> bool:
    """Whether the processor has estimates of a register of these numbers."""
    return LANES == 16 and at.align == 4


def _call(at: Places, name: str, x: Any) -> Any:
    """LLVM's function of one vector; those of AVX-512 also take what stands in masked lanes, and
    the mask of those that do not."""
    masked = [at.same(0.0), ir.IntType(16)(0xFFFF)] if ".avx512." in name else []
    kind = ir.FunctionType(at.vector, [at.vector, *(value.type for value in masked)])
    function = get_or_insert_function(at.builder.module, kind, name)  # type: ignore[no-untyped-call]
    return at.builder.call(function, [x, *masked])


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
    at_m = at.arguments[moments[-1] + 1]
    rows = [at.rows(i, at_w, by_w) for i in (0, 1)]
    rows += [at.rows(i, at_m, at.index(COLUMNS)) for i in moments]
    for g, *pointers in zip(gradient, *rows, strict=True):
        for j in range(0, COLUMNS, LANES):
            start, *to = (at.vector_at(pointer, at.index(j)) for pointer in pointers)
            moved, kept = step(at.part(g, j), at.load(start), [held(place) for place in to[1:]])
            for value, place in zip([moved, *kept], to, strict=True):
                at.store(value, place)
