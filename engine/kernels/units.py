"""Rows to unit length, gradients back through it, and cross-entropy."""

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating]
_TINY = 1e-12  # as torch.nn.functional.normalize has it
_SUMS = {"reassoc", "contract"}  # sums over a row in the order that vectors like


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def unit(y: Array, z: Array, norms: Array) -> None:
    """z[i] = y[i] / max(|y[i]|, tiny) for y (n, w); norms (n,) is written with |y[i]|."""
    for i in range(y.shape[0]):
        square = y[i, 0] * y[i, 0]
        for j in range(1, y.shape[1]):
            square += y[i, j] * y[i, j]
        norms[i] = math.sqrt(square)
        scale = 1 / max(norms[i], norms.dtype.type(_TINY))
        for j in range(y.shape[1]):
            z[i, j] = y[i, j] * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def through_unit(z: Array, norms: Array, d: Array) -> None:
    """Gradients d (n, w) by the unit rows z become those by y, in place: (d - z (z . d)) / |y|."""
    for i in range(z.shape[0]):
        along = z[i, 0] * d[i, 0]
        for j in range(1, z.shape[1]):
            along += z[i, j] * d[i, j]
        tiny = norms.dtype.type(_TINY)
        if norms[i] < tiny:  # there z is y / tiny
            along *= 0
        scale = 1 / max(norms[i], tiny)
        for j in range(z.shape[1]):
            d[i, j] = (d[i, j] - z[i, j] * along) * scale


@njit(cache=True, nogil=True, error_model="numpy")
def cross_entropy(
    cosines: Array, labels: npt.NDArray[np.int64], tau: float, d_cosines: Array
) -> float:
    """Mean of -log softmax(cosines / tau)[label]; d_cosines (n, C) gets its derivatives."""
    n, n_way = cosines.shape
    total = 0.0
    for i in range(n):
        top = cosines[i, 0]
        for c in range(1, n_way):
            top = max(top, cosines[i, c])
        mass = 0.0
        for c in range(n_way):
            d_cosines[i, c] = math.exp((cosines[i, c] - top) / tau)
            mass += d_cosines[i, c]
        total += math.log(mass) - (cosines[i, labels[i]] - top) / tau
        for c in range(n_way):
            d_cosines[i, c] *= 1 / (mass * n * tau)
        d_cosines[i, labels[i]] -= 1 / (n * tau)
    return float(total / n)
