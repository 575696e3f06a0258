"""Alignment losses as functions of cosines, with their derivatives.

Each takes pairs (B, B), the cosines of source row i with target row j, and negatives (B, K), of
source row i with its k-th negative; it returns the loss and writes its derivatives by either into
d_pairs and d_negatives. Only the last two losses read cosines off the diagonal of `pairs`. The
equations are those of xmg.engine.losses.contrastive.
"""

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.floating]
INFO_NCE, NCE_MARGIN, NCE_LOGISTIC, SIGMOID, TRIPLET_HARD, CLASS_MEAN_HINGE = range(6)


@njit(cache=True, nogil=True, error_model="numpy")
def info_nce(
    pairs: Array, negatives: Array, tau: float, d_pairs: Array, d_negatives: Array
) -> float:
    """L = mean_i log(1 + sum_k exp((n_ik - p_i) / tau))."""
    d_pairs[:] = 0
    n_pairs, n_negatives = negatives.shape
    total = 0.0
    for i in range(n_pairs):
        top = pairs[i, i]
        for k in range(n_negatives):
            top = max(top, negatives[i, k])
        own = math.exp((pairs[i, i] - top) / tau)
        others = 0.0
        for k in range(n_negatives):
            d_negatives[i, k] = math.exp((negatives[i, k] - top) / tau)
            others += d_negatives[i, k]
        scale = 1 / ((own + others) * n_pairs * tau)
        for k in range(n_negatives):
            d_negatives[i, k] *= scale
        d_pairs[i, i] = -others * scale
        total += math.log(own + others) - (pairs[i, i] - top) / tau
    return float(total / n_pairs)


@njit(cache=True, nogil=True, error_model="numpy")
def nce_margin(
    pairs: Array, negatives: Array, margin: float, d_pairs: Array, d_negatives: Array
) -> float:
    """L = mean_ik max(0, margin + n_ik - p_i)."""
    d_pairs[:] = 0
    n_pairs, n_negatives = negatives.shape
    share, total = 1 / (n_pairs * n_negatives), 0.0
    for i in range(n_pairs):
        active = 0
        for k in range(n_negatives):
            hinge = margin + negatives[i, k] - pairs[i, i]
            d_negatives[i, k] = 0
            if not hinge <= 0:  # NaN passes on
                d_negatives[i, k] = share
                active += 1
                total += hinge
        d_pairs[i, i] = -active * share
    return float(total * share)


@njit(cache=True, nogil=True, error_model="numpy")
def nce_logistic(
    pairs: Array, negatives: Array, tau: float, d_pairs: Array, d_negatives: Array
) -> float:
    """L = mean_i softplus(-p_i / tau) + mean_ik softplus(n_ik / tau)."""
    n_pairs, n_negatives = negatives.shape
    share = 1 / n_pairs, 1 / (n_pairs * n_negatives)
    return _logistic(pairs, negatives, tau, 0.0, share, d_pairs, d_negatives)


@njit(cache=True, nogil=True, error_model="numpy")
def sigmoid(
    pairs: Array, negatives: Array, tau: float, d_pairs: Array, d_negatives: Array
) -> float:
    """The same sums with the bias -log K, both over B."""
    n_pairs, n_negatives = negatives.shape
    share, bias = (1 / n_pairs, 1 / n_pairs), -math.log(n_negatives)
    return _logistic(pairs, negatives, tau, bias, share, d_pairs, d_negatives)


@njit(cache=True, nogil=True, error_model="numpy")
def _logistic(
    pairs: Array,
    negatives: Array,
    tau: float,
    bias: float,
    share: tuple[float, float],
    d_pairs: Array,
    d_negatives: Array,
) -> float:
    """sum of -log g(own + bias) and -log g(-other - bias), each kind with its share."""
    d_pairs[:] = 0
    own, others = 0.0, 0.0
    for i in range(negatives.shape[0]):
        x = pairs[i, i] / tau + bias
        own += _softplus(-x)
        d_pairs[i, i] = -share[0] / tau * _expit(-x)
        for k in range(negatives.shape[1]):
            x = negatives[i, k] / tau + bias
            others += _softplus(x)
            d_negatives[i, k] = share[1] / tau * _expit(x)
    return own * share[0] + others * share[1]


@njit(cache=True, nogil=True, error_model="numpy")
def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@njit(cache=True, nogil=True, error_model="numpy")
def _expit(x: float) -> float:
    e = math.exp(-abs(x))
    return 1 / (1 + e) if x >= 0 else e / (1 + e)


@njit(cache=True, nogil=True, error_model="numpy")
def triplet_hard(
    pairs: Array, negatives: Array, margin: float, n_sets: int, d_pairs: Array, d_negatives: Array
) -> float:
    """Hinges against the nearest negative, and the nearest source row of another set."""
    d_pairs[:], d_negatives[:] = 0, 0
    n_pairs, n_negatives = negatives.shape
    share, total = 1 / n_pairs, 0.0
    for i in range(n_pairs):
        top, ties = -np.inf, 0
        for k in range(n_negatives):
            ties = ties + 1 if negatives[i, k] == top else (1 if negatives[i, k] > top else ties)
            top = max(top, negatives[i, k])
        if not margin + top - pairs[i, i] <= 0:
            total += margin + top - pairs[i, i]
            d_pairs[i, i] -= share
            for k in range(n_negatives):
                if negatives[i, k] == top:
                    d_negatives[i, k] = share / ties  # as autograd shares a maximum
        total += _hardest_source(pairs, i, margin, n_sets, share, d_pairs)
    return float(total * share)


@njit(cache=True, nogil=True, error_model="numpy")
def _hardest_source(
    pairs: Array, i: int, margin: float, n_sets: int, share: float, d_pairs: Array
) -> float:
    """The hinge of target row i against the nearest source row of another set."""
    top, ties = -np.inf, 0
    for j in range(pairs.shape[0]):
        if (j - i) % n_sets != 0:
            ties = ties + 1 if pairs[j, i] == top else (1 if pairs[j, i] > top else ties)
            top = max(top, pairs[j, i])
    hinge = margin + top - pairs[i, i]
    if hinge <= 0:
        return 0.0
    d_pairs[i, i] -= share
    for j in range(pairs.shape[0]):
        if (j - i) % n_sets != 0 and pairs[j, i] == top:
            d_pairs[j, i] += share / ties
    return float(hinge)


@njit(cache=True, nogil=True, error_model="numpy")
def class_mean_hinge(
    pairs: Array, margin: float, n_sets: int, d_pairs: Array, d_negatives: Array
) -> float:
    """Hinges between the sets' means: a_c . b_c' is a mean of cosines."""
    d_pairs[:], d_negatives[:] = 0, 0
    n_pairs = pairs.shape[0]
    k = n_pairs // n_sets
    scores = np.zeros((n_sets, n_sets))  # a_c . b_c', a mean of cosines
    for i in range(n_pairs):
        for j in range(n_pairs):
            scores[i % n_sets, j % n_sets] += pairs[i, j] / (k * k)
    share, total = 1 / (n_sets * (n_sets - 1)), 0.0
    by_score = np.zeros((n_sets, n_sets))
    for c in range(n_sets):
        for other in range(n_sets):
            hinge = margin + scores[c, other] - scores[c, c]
            if c != other and not hinge <= 0:
                total += hinge
                by_score[c, other] += share
                by_score[c, c] -= share
    for i in range(n_pairs):
        for j in range(n_pairs):
            d_pairs[i, j] = by_score[i % n_sets, j % n_sets] / (k * k)
    return float(total * share)


@njit(cache=True, nogil=True, error_model="numpy")
def contrast(
    kind: int,
    pairs: Array,
    negatives: Array,
    constant: float,
    n_sets: int,
    d_pairs: Array,
    d_negatives: Array,
) -> float:
    """The loss of that kind; `constant` is its temperature or its margin."""
    if kind == INFO_NCE:
        return info_nce(pairs, negatives, constant, d_pairs, d_negatives)
    if kind == NCE_MARGIN:
        return nce_margin(pairs, negatives, constant, d_pairs, d_negatives)
    if kind == NCE_LOGISTIC:
        return nce_logistic(pairs, negatives, constant, d_pairs, d_negatives)
    if kind == SIGMOID:
        return sigmoid(pairs, negatives, constant, d_pairs, d_negatives)
    if kind == TRIPLET_HARD:
        return triplet_hard(pairs, negatives, constant, n_sets, d_pairs, d_negatives)
    return class_mean_hinge(pairs, constant, n_sets, d_pairs, d_negatives)
