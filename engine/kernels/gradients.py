"""Losses of the two tasks with their gradients, from rows that are not yet unit."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels.contrast import CLASS_MEAN_HINGE, TRIPLET_HARD, contrast

Array = npt.NDArray[np.floating]
_TINY = 1e-12  # as torch.nn.functional.normalize has it
_SUMS = {"reassoc", "contract"}  # sums over a row in the order that vectors like


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def unit(y: Array, z: Array, norms: Array) -> None:
    """z[i] = y[i] / max(|y[i]|, tiny) for y (n, w); norms (n,) is written with |y[i]|."""
    for i in range(y.shape[0]):
        norms[i] = math.sqrt(_dot(y, i, y, i))
        scale = 1 / max(norms[i], norms.dtype.type(_TINY))
        for j in range(y.shape[1]):
            z[i, j] = y[i, j] * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def through_unit(z: Array, norms: Array, d: Array) -> None:
    """Gradients d (n, w) by the unit rows z become those by y, in place: (d - z (z . d)) / |y|."""
    for i in range(z.shape[0]):
        along = _dot(z, i, d, i)
        tiny = norms.dtype.type(_TINY)
        if norms[i] < tiny:  # there z is y / tiny
            along *= 0
        scale = 1 / max(norms[i], tiny)
        for j in range(z.shape[1]):
            d[i, j] = (d[i, j] - z[i, j] * along) * scale


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def _dot(a: Array, i: int, b: Array, j: int) -> float:
    """a[i] . b[j], by place: a view of a row costs as much as a short product."""
    total = a.dtype.type(0)
    for k in range(a.shape[1]):
        total += a[i, k] * b[j, k]
    return total  # type: ignore[return-value] # of the rows' precision


@njit(cache=True, nogil=True, error_model="numpy", fastmath=_SUMS)
def add(to: Array, i: int, scale: Any, rows: Array, j: int) -> None:
    """to[i] += scale rows[j], where there is anything to add."""
    if scale == 0:
        return
    for k in range(to.shape[1]):
        to[i, k] += scale * rows[j, k]


@njit(cache=True, nogil=True, error_model="numpy")
def alignment(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    y_s: Array,
    y_t: Array,
    kind: int,
    constant: float,
    n_sets: int,
    shared: bool,
    z_s: Array,
    z_t: Array,
    d_s: Array,
    d_t: Array,
) -> float:
    """A contrastive loss of rows y_s (B, w) and y_t (B + negatives, w); gradients into d_s, d_t.

    The negatives are K for each pair, pair by pair, or K that all share. The unit rows z_s, z_t
    are written too.
    """
    n, n_negatives = len(y_s), len(y_t) - len(y_s)
    k = n_negatives if shared else n_negatives // n
    stride = 0 if shared else k
    across = kind in (TRIPLET_HARD, CLASS_MEAN_HINGE)
    norms_s, norms_t = np.empty(n, y_s.dtype), np.empty(len(y_t), y_t.dtype)
    unit(y_s, z_s, norms_s)
    unit(y_t, z_t, norms_t)
    pairs, negatives = np.zeros((n, n), y_s.dtype), np.empty((n, k), y_s.dtype)
    for i in range(n):
        for j in range(n):
            if across or i == j:
                pairs[i, j] = _dot(z_s, i, z_t, j)
        for j in range(k):
            negatives[i, j] = _dot(z_s, i, z_t, n + i * stride + j)
    d_pairs, d_negatives = np.empty_like(pairs), np.empty_like(negatives)
    value = contrast(kind, pairs, negatives, constant, n_sets, d_pairs, d_negatives)
    d_s[:], d_t[:] = 0, 0
    for i in range(n):
        for j in range(n):
            add(d_s, i, d_pairs[i, j], z_t, j)
            add(d_t, j, d_pairs[i, j], z_s, i)
        for j in range(k):
            row = n + i * stride + j
            add(d_s, i, d_negatives[i, j], z_t, row)
            add(d_t, row, d_negatives[i, j], z_s, i)
    through_unit(z_s, norms_s, d_s)
    through_unit(z_t, norms_t, d_t)
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def classification(
    y: Array, phi: Array, labels: npt.NDArray[np.int64], tau: float, d_y: Array, d_phi: Array
) -> float:
    """Mean cross-entropy of softmax(z phi / tau), z the unit rows of y (m, w), phi (w, C).

    Gradients into d_y and d_phi.
    """
    z, norms = np.empty_like(y), np.empty(len(y), y.dtype)
    unit(y, z, norms)
    columns = phi.T.copy()  # (C, w): dot products over rows
    d_columns, p = np.zeros_like(columns), np.empty(len(columns), y.dtype)
    d_y[:] = 0
    total, share = 0.0, 1 / (len(y) * tau)
    for i in range(len(y)):
        for c in range(p.size):
            p[c] = _dot(z, i, columns, c)
        top = p.max()
        total -= (p[labels[i]] - top) / tau
        mass = 0.0
        for c in range(p.size):
            p[c] = math.exp((p[c] - top) / tau)
            mass += p[c]
        total += math.log(mass)
        for c in range(p.size):
            by_cosine = p.dtype.type((p[c] / mass - (c == labels[i])) * share)
            add(d_y, i, by_cosine, columns, c)
            add(d_columns, c, by_cosine, z, i)
    through_unit(z, norms, d_y)
    d_phi[:] = d_columns.T
    return float(total / len(y))
