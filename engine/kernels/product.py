"""Products of matrices made of whole tiles.

d', m', w' are d, m, w padded to such. Memory that is only worked in has longer rows still,
`skewed`: rows a power of two apart would share few places of the nearest cache.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels.tile import COLUMNS, ROWS, multiply_add

BLOCK = 32  # rows of weights at a time, a multiple of ROWS: they stay in the nearest caches
Array = npt.NDArray[np.floating]


def skewed(width: int) -> int:
    """Numbers between rows of a matrix of this width that is worked in."""
    return width + 16


@njit(cache=True, nogil=True, error_model="numpy")
def pack_rows(rows: Array, picks: npt.NDArray[np.int64], out: Array) -> None:
    """out (d', m') = rows[picks].T for rows (n, d), padded with zeros; what is beyond m' stays."""
    d, m = rows.shape[1], picks.size
    high = (m + ROWS - 1) // ROWS * ROWS
    out[d:, :high] = 0
    for k in range(0, m - m % ROWS, ROWS):  # ROWS is 4
        r, s, t, u = picks[k], picks[k + 1], picks[k + 2], picks[k + 3]
        for j in range(d):
            out[j, k], out[j, k + 1] = rows[r, j], rows[s, j]
            out[j, k + 2], out[j, k + 3] = rows[t, j], rows[u, j]
    for k in range(m - m % ROWS, high):
        for j in range(d):
            out[j, k] = rows[picks[k], j] if k < m else 0


@njit(cache=True, nogil=True, error_model="numpy")
def add_product(x: Array, y: Array, start: int, stop: int, width: int, to: Array) -> None:
    """to (m', width) += X^T Y (d', width) over rows start to stop of both; rows may be longer."""
    by_x, by_y, by_to = x.shape[1], y.shape[1], to.shape[1]
    a, b, c = x.ravel(), y.ravel(), to.ravel()  # views
    for i in range(start, stop, BLOCK):
        n = min(BLOCK, stop - i)
        for j in range(0, width, COLUMNS):
            for r in range(0, len(to), ROWS):
                multiply_add(
                    c, r * by_to + j, by_to, a, i * by_x + r, 1, by_x, b, i * by_y + j, by_y, n,
                )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def copy_corner(source: Array, target: Array) -> None:
    """What both matrices have."""
    n, width = min(len(source), len(target)), min(source.shape[1], target.shape[1])
    for k in range(n):
        for j in range(width):
            target[k, j] = source[k, j]
