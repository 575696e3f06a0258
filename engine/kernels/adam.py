"""Adam (Kingma, Ba, arXiv:1412.6980, algorithm 1) over flat arrays.

m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,
w <- w - rate / (1 - b1^t)  m / (sqrt(v / (1 - b2^t)) + 1e-8)
"""

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating]
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
_FMA = {"contract"}  # a multiply-add rounds once


def constants(rate: float, t: int, dtype: np.dtype[np.floating]) -> Array:
    """What step t = 1, 2, ... multiplies by, in the precision of the weights."""
    size, scale = rate / (1 - _BETA1**t), (1 - _BETA2**t) ** -0.5
    return np.array([_BETA1, 1 - _BETA1, _BETA2, 1 - _BETA2, size, scale, _TINY], dtype)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FMA)
def first(start: Array, g: Array, w: Array, m: Array, v: Array, constants: Array) -> None:
    """Step 1 from `start` into w, m and v (n,): nothing is read of what they hold."""
    _, by_m, _, by_v, size, scale, tiny = constants
    for i in range(start.size):
        m[i] = by_m * g[i]
        v[i] = by_v * g[i] * g[i]
        w[i] = start[i] - size * m[i] / (np.sqrt(v[i]) * scale + tiny)


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_FMA)
def later(w: Array, g: Array, m: Array, v: Array, constants: Array) -> None:
    """A further step, in place."""
    keep_m, by_m, keep_v, by_v, size, scale, tiny = constants
    for i in range(w.size):
        m[i] = keep_m * m[i] + by_m * g[i]
        v[i] = keep_v * v[i] + by_v * g[i] * g[i]
        w[i] -= size * m[i] / (np.sqrt(v[i]) * scale + tiny)
