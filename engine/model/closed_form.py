"""Maps between modalities that have a closed form, from the moments of sets of pairs."""

from typing import NamedTuple

import torch
from torch import Tensor

from xmg.engine.model.decomposition import svd
from xmg.engine.model.set_statistics import Pair

_SURE = 0.99  # no direction is trusted beyond


class CCA(NamedTuple):
    """Canonical directions, and the correlations of the two modalities along them."""

    source: Tensor  # (d_s, r)
    target: Tensor  # (d_t, r)
    correlations: Tensor  # (r,), descending


def cca(pair: Pair, shrinkage: float, width: int) -> CCA:
    """Canonical correlation analysis (Hotelling, Biometrika 1936) of the pairs.

    With U diag(c) V^T the singular value decomposition of C_tt^-1/2 C_ts C_ss^-1/2, directions are
    C_tt^-1/2 U and C_ss^-1/2 V; r = min(width, d_s, d_t, S) of S sets, of which the last may be
    rounding alone, see `n_spanned`. Covariances are shrunk, see `shrunk`.
    """
    target = inverse_root(shrunk(pair.target.covariance, shrinkage))
    source = inverse_root(shrunk(pair.source.covariance, shrinkage))
    u, c, v = product_svd(target @ pair.target.deviations.T, source @ pair.source.deviations.T)
    return CCA(source @ v[:, :width], target @ u[:, :width], c[:width].clamp_max(1))


def n_spanned(values: Tensor) -> int:
    """How many singular values (r,), descending, are more than rounding, one at least.

    Deviations of S sets from their mean span S - 1 directions. Where a decomposition has a further
    one, rounding alone decides where it leads.
    """
    least = values[0] * len(values) * torch.finfo(values.dtype).eps
    return max(1, int((values > least).sum()))


def evidence(correlations: Tensor) -> Tensor:
    """Weights sqrt(c / (1 - c^2)) of canonical coordinates of unit variance.

    Inner products of weighted coordinates a, b are then the part of log p(a, b) - log p(a) p(b)
    that depends on both, under CCA's probabilistic model (Bach, Jordan, 2005): what they say for
    being a pair, as in probabilistic LDA (Ioffe, ECCV 2006). c counts as 0.99 at most.
    """
    c = correlations.clamp_max(_SURE)
    return (c / (1 - c.square())).sqrt()


def product_svd(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition U diag(c) V^T of a b^T: through factors of few columns, of which
    there is one for each set."""
    if a.shape[1] >= min(len(a), len(b)):
        u, c, vh = svd(a @ b.T)
        return u, c, vh.T
    (q_a, r_a), (q_b, r_b) = torch.linalg.qr(a), torch.linalg.qr(b)
    u, c, vh = svd(r_a @ r_b.T)
    return q_a @ u, c, q_b @ vh.T


def shrunk(covariance: Tensor, a: float) -> Tensor:
    """(1 - a) C + a tr(C) / d I (Ledoit, Wolf, 2004)."""
    d = len(covariance)
    eye = torch.eye(d, dtype=covariance.dtype)
    return covariance * (1 - a) + eye * (a * float(covariance.trace()) / d)


def inverse_root(c: Tensor) -> Tensor:
    """C^-1/2 of a symmetric, positive definite matrix; what has no variance stays out."""
    values, vectors = torch.linalg.eigh(c)
    kept = values > values[-1] * len(c) * torch.finfo(c.dtype).eps
    root: Tensor = (vectors * torch.where(kept, values.clamp_min(1e-300).rsqrt(), 0)) @ vectors.T
    return root


def procrustes(a: Tensor, b: Tensor) -> Tensor:
    """The rotation R (d_a, d_b) that brings rows a nearest to rows b, U V^T from the singular value
    decomposition of A^T B (Schonemann, Psychometrika 1966).

    Rows may span fewer directions than there are, and what R does with the others, rounding would
    decide, another way with each number of threads. Of the nearest rotations this is the one
    nearest to the identity.
    """
    u, c, vh = svd(a.T @ b)
    n = n_spanned(c)
    u, vh = u[:, :n], vh[:n]
    others = torch.eye(len(u), vh.shape[1], dtype=u.dtype)
    others = others - u @ (u.T @ others)
    others = others - (others @ vh.T) @ vh
    left, _, right = svd(others)
    n_others = min(others.shape) - n
    rotation: Tensor = u @ vh + left[:, :n_others] @ right[:n_others]
    return rotation


def ridge(pair: Pair, penalty: float) -> Tensor:
    """Weights W (d_t, d_s) of the ridge regression of source on target rows, both centred:
    (C_tt + penalty tr(C_tt) / d I)^-1 C_ts."""
    c = pair.target.covariance
    eye = torch.eye(len(c), dtype=c.dtype)
    weights: Tensor = torch.linalg.solve(
        c + eye * (penalty * float(c.trace()) / len(c)), pair.cross
    )
    return weights
