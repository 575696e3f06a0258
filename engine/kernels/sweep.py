"""One pass over a first layer for a step: its gradient, the optimizer's step, the next projection.

W (d, w) and the optimizer's moments are kept as panels of BLOCK rows by COLUMNS columns, each
contiguous, so that a panel's gradient, step and projection all happen in the processor's nearest
cache and each weight is read and written once a step. Sizes are padded with zeros, whose
gradients are zero.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels.tile import COLUMNS, ROWS, multiply_add

BLOCK = 64  # rows of a panel, a multiple of ROWS
ADAM, SGD = 0, 1
Array = npt.NDArray[np.floating]


def padded(n: int, to: int) -> int:
    """n rounded up to a multiple."""
    return -(-n // to) * to


def panel_size(d: int, w: int) -> int:
    """Numbers that the panels of a (d, w) matrix hold."""
    return padded(d, BLOCK) * padded(w, COLUMNS)


@njit(cache=True, nogil=True, error_model="numpy")
def pack_rows(rows: Array, picks: npt.NDArray[np.int64], out: Array) -> None:
    """out (d', m') = rows[picks].T for rows (n, d), padded with zeros."""
    d, m = rows.shape[1], picks.size
    out[d:] = 0
    for i in range(0, d, COLUMNS):  # a cache line of each row at a time
        stop = min(i + COLUMNS, d)
        for k in range(m):
            row = rows[picks[k]]
            for j in range(i, stop):
                out[j, k] = row[j]
        out[i:stop, m:] = 0


@njit(cache=True, nogil=True, error_model="numpy")
def _to_panels(x: Array, panels: Array, n_rows: int) -> None:
    """x (m, w) as panels of n_rows by COLUMNS, padded with zeros."""
    m, w = x.shape
    panels[:] = 0
    for j in range(w):
        start = j // COLUMNS * n_rows * COLUMNS + j % COLUMNS
        for k in range(m):
            panels[start + k * COLUMNS] = x[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _from_panels(panels: Array, n_rows: int, x: Array) -> None:
    m, w = x.shape
    for k in range(m):
        for j in range(w):
            x[k, j] = panels[(j // COLUMNS * n_rows + k) * COLUMNS + j % COLUMNS]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def adam_step(w: Array, g: Array, m: Array, v: Array, c: Array, first: bool) -> None:
    """A step of Adam in place, over flat arrays; c is (b1, 1 - b1, b2, 1 - b2,
    rate / (1 - b1^t), (1 - b2^t)^-1/2, 1e-8). Of the moments the first step reads nothing."""
    keep_m, by_m, keep_v, by_v, size, scale, tiny = c[0], c[1], c[2], c[3], c[4], c[5], c[6]
    if first:
        for i in range(w.size):
            m[i] = by_m * g[i]
            v[i] = by_v * g[i] * g[i]
            w[i] -= size * m[i] / (np.sqrt(v[i]) * scale + tiny)
    else:
        for i in range(w.size):
            m[i] = keep_m * m[i] + by_m * g[i]
            v[i] = keep_v * v[i] + by_v * g[i] * g[i]
            w[i] -= size * m[i] / (np.sqrt(v[i]) * scale + tiny)


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def sgd_step(w: Array, g: Array, b: Array, c: Array, first: bool) -> None:
    """The same of SGD: b <- momentum b + g + decay w, w <- w - rate b; c is (momentum, decay,
    rate)."""
    for i in range(w.size):
        kept = g[i] * 0 if first else c[0] * b[i]
        b[i] = kept + g[i] + c[1] * w[i]
        w[i] -= c[2] * b[i]


@njit(cache=True, nogil=True, error_model="numpy")
def begin(start: Array, w: Array, rows: Array, z_panels: Array, z: Array) -> None:
    """Lay weights start (d, w) out as panels w, and project packed rows (d', m') to z (m, w)."""
    n_rows, n_panels = rows.shape[1], (start.shape[1] + COLUMNS - 1) // COLUMNS
    z_panels[:] = 0
    x = rows.ravel()  # a view
    for i in range(0, rows.shape[0], BLOCK):
        _load(start, i, w[i * n_panels * COLUMNS : (i + BLOCK) * n_panels * COLUMNS])
        for p in range(n_panels):
            at = (i * n_panels + p * BLOCK) * COLUMNS
            for r in range(0, n_rows, ROWS):
                multiply_add(
                    z_panels, (p * n_rows + r) * COLUMNS, x, i * n_rows + r, 1, n_rows,
                    w, at, BLOCK, False,
                )  # fmt: skip
    _from_panels(z_panels, n_rows, z)


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
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
    d_panels: Array,
    z_panels: Array,
    z: Array,
    out: Array,
) -> None:
    """One step on a first layer.

    rows (d', m') are those that the step read, packed, and d (m, w) the gradient by their
    projections; following (d', m'') those of the next step, whose projections z (m'', w) are
    written. Weights and moments are the panels w, m and v; of the moments the first step reads
    nothing. The last step writes the weights to out (d, w) and projects nothing. d_panels and
    z_panels are memory for d and z as panels.
    """
    width = out.shape[1]
    n_rows, n_next = rows.shape[1], following.shape[1]
    n_panels = (width + COLUMNS - 1) // COLUMNS
    gradient = np.empty(BLOCK * COLUMNS, w.dtype)
    _to_panels(d, d_panels, n_rows)
    z_panels[:] = 0
    x, y = rows.ravel(), following.ravel()  # views
    for i in range(0, rows.shape[0], BLOCK):
        for p in range(n_panels):
            at = (i * n_panels + p * BLOCK) * COLUMNS
            here = slice(at, at + BLOCK * COLUMNS)
            for r in range(0, BLOCK, ROWS):
                multiply_add(
                    gradient, r * COLUMNS, x, (i + r) * n_rows, n_rows, 1,
                    d_panels, p * n_rows * COLUMNS, n_rows, True,
                )  # fmt: skip
            if kind == ADAM:
                adam_step(w[here], gradient, m[here], v[here], constants, first)
            else:
                sgd_step(w[here], gradient, m[here], constants, first)
            for r in range(0, 0 if last else n_next, ROWS):
                multiply_add(
                    z_panels, (p * n_next + r) * COLUMNS, y, i * n_next + r, 1, n_next,
                    w, at, BLOCK, False,
                )  # fmt: skip
        if last:
            _store(w[i * n_panels * COLUMNS : (i + BLOCK) * n_panels * COLUMNS], i, out)
    if not last:
        _from_panels(z_panels, n_next, z)


@njit(cache=True, nogil=True, error_model="numpy")
def _load(matrix: Array, row: int, block: Array) -> None:
    """BLOCK rows of a matrix as panels, padded with zeros; read in the order they lie in."""
    whole = matrix.shape[1] - matrix.shape[1] % COLUMNS
    if matrix.shape[0] < row + BLOCK or whole < matrix.shape[1]:
        block[:] = 0
    for r in range(min(BLOCK, matrix.shape[0] - row)):
        source = matrix[row + r]
        for j in range(0, whole, COLUMNS):
            _copy(source[j : j + COLUMNS], block[j * BLOCK + r * COLUMNS :])
        for j in range(whole, source.size):
            block[whole * BLOCK + r * COLUMNS + j - whole] = source[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _store(block: Array, row: int, matrix: Array) -> None:
    """The same backwards."""
    whole = matrix.shape[1] - matrix.shape[1] % COLUMNS
    for r in range(min(BLOCK, matrix.shape[0] - row)):
        target = matrix[row + r]
        for j in range(0, whole, COLUMNS):
            _copy(block[j * BLOCK + r * COLUMNS :], target[j : j + COLUMNS])
        for j in range(whole, target.size):
            target[j] = block[whole * BLOCK + r * COLUMNS + j - whole]


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(source: Array, target: Array) -> None:
    """COLUMNS numbers: of a length that is known, so that they are copied as vectors."""
    for k in range(COLUMNS):
        target[k] = source[k]
