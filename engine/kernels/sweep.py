"""One pass over a first layer for a step: its gradient, the optimizer's step, the next projection.

The weights W (d', w') and the optimizer's moments are passed in blocks of rows, so that a block's
gradient, step and projection all happen in the processor's nearer caches and each weight is read
and written once a step. Sizes are padded to whole tiles, with zeros whose gradients are zero.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels.product import add_product, copy_corner
from xmg.engine.kernels.step_tile import adam_tile, sgd_tile
from xmg.engine.kernels.tile import COLUMNS, ROWS

ADAM, SGD = 0, 1
BLOCK = 64  # rows of weights that step before they are multiplied, a multiple of ROWS
Array = npt.NDArray[np.floating]


@njit(cache=True, nogil=True, error_model="numpy")
def adam_step(w: Array, g: Array, m: Array, v: Array, c: Array, first: bool) -> None:
    """A step of Adam in place, over flat arrays. Of the moments the first step reads nothing.

    m and v are sums, m <- b1 m + g and v <- b2 v + g^2, which spares two products: (1 - b1) m and
    (1 - b2) v are the moments of arXiv:1412.6980. In single precision v overflows at gradients
    of 10^17, where it would at 10^19. c is (b1, b2, rate (1 - b1) / (1 - b1^t),
    ((1 - b2) / (1 - b2^t))^1/2, 1e-8).
    """
    keep_m, keep_v, size, scale, tiny = c[0], c[1], c[2], c[3], c[4]
    if first:
        for i in range(w.size):
            m[i] = g[i]
            v[i] = g[i] * g[i]
            w[i] -= size * (m[i] / (np.sqrt(v[i]) * scale + tiny))
    else:
        for i in range(w.size):
            m[i] = keep_m * m[i] + g[i]
            v[i] = keep_v * v[i] + g[i] * g[i]
            w[i] -= size * (m[i] / (np.sqrt(v[i]) * scale + tiny))


@njit(cache=True, nogil=True, error_model="numpy")
def sgd_step(w: Array, g: Array, b: Array, c: Array, first: bool) -> None:
    """The same of SGD: b <- momentum b + g + decay w, w <- w - rate b; c is (momentum, decay,
    rate)."""
    for i in range(w.size):
        kept = g[i] * 0 if first else c[0] * b[i]
        b[i] = kept + g[i] + c[1] * w[i]
        w[i] -= c[2] * b[i]


@njit(cache=True, nogil=True, error_model="numpy")
def project(w: Array, rows: Array, z_wide: Array, z: Array) -> None:
    """z (m, w) = X W for packed rows X (d', m') and weights (d', w'); z_wide (m', w') is memory."""
    z_wide[:] = 0
    add_product(rows, w, 0, len(w), w.shape[1], z_wide)
    copy_corner(z_wide, z)


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    start: Array,
    w: Array,
    m: Array,
    v: Array,
    rows: Array,
    d: Array,
    following: Array,
    kind: int,
    constants: Array,
    first: bool,
    last: bool,
    backward: bool,
    d_wide: Array,
    z_wide: Array,
    z: Array,
) -> None:
    """One step on a first layer.

    rows (d', m') are those that the step read, packed, and d (m, w) the gradient by their
    projections; following (d', m'') those of the next step, whose projections z (m'', w) are
    written. The weights are w (d', w'); their moments m and v are as many numbers each, in the
    order in which tiles are passed. The first step reads no moment, and the weights from start,
    which may be w. The last step projects nothing. Passes that go backward every other time find in
    the caches what the one before left there. d_wide (m', w') and z_wide (m'', w') are memory.
    """
    d_wide[:] = 0
    copy_corner(d, d_wide)
    z_wide[:] = 0
    n_blocks = (w.shape[0] + BLOCK - 1) // BLOCK
    for block in range(n_blocks):
        i = (n_blocks - 1 - block if backward else block) * BLOCK
        stop = min(i + BLOCK, w.shape[0])
        _step(start if first else w, w, m, v, i, stop, rows, d_wide, kind, constants, first)
        if not last:
            add_product(following, w, i, stop, w.shape[1], z_wide)
    if not last:
        copy_corner(z_wide, z)


@njit(cache=True, nogil=True, error_model="numpy")
def _step(  # noqa: PLR0913, PLR0917 - as the kernel
    start: Array, w: Array, m: Array, v: Array, i: int, stop: int, rows: Array, d_wide: Array,
    kind: int, constants: Array, first: bool,
) -> None:  # fmt: skip
    """Step the weights i to stop, from start to w, by X^T D for packed rows X (d', m')."""
    n_rows, by_d, width = len(d_wide), d_wide.shape[1], w.shape[1]
    by_x = rows.shape[1]
    x, d, before, to = rows.ravel(), d_wide.ravel(), start.ravel(), w.ravel()  # views
    sums, squares = m.ravel(), v.ravel()
    for r in range(i, stop, ROWS):
        for j in range(0, width, COLUMNS):
            if kind == ADAM:
                adam_tile(
                    before, to, r * width + j, width, x, r * by_x, by_x, 1, d, j, by_d, n_rows,
                    sums, squares, r * width + j * ROWS, constants, first,
                )  # fmt: skip
            else:
                sgd_tile(
                    before, to, r * width + j, width, x, r * by_x, by_x, 1, d, j, by_d, n_rows,
                    sums, r * width + j * ROWS, constants, first,
                )  # fmt: skip
