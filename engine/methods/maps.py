"""Closed-form alignment, then nearest class mean: CCA, CSA, Procrustes, ridge.

They read what CROMA's alignment reads: pairs of whitened rows, no label beside the sets. A closed
form gives a matrix M, and a task is answered by class means of

    g(x) = (unit(f(x)) - mean) M,   f the target's front, the mean over the pairs' target rows.

M is made of C_tt, C_ss and C_ts, covariances of unit(f(x)) over all pairs of X_s x X_t; each
function below says how.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.views import MetaTrain
from xmg.engine.learner import OWN, Learner
from xmg.engine.methods.system import ClosedForm, pairs
from xmg.engine.model.closed_form import cca, evidence, n_spanned, product_svd, ridge
from xmg.engine.model.fronts import Fronts, fit_fronts
from xmg.engine.model.set_statistics import Pair, pair_statistics
from xmg.engine.model.whitening import SHRINKAGES, Whitening

Front = Callable[[Tensor], Tensor]

_SHRINKAGE = 0.1  # of the covariances in CCA; whitening has been shrunk before, several ways
_WIDTHS = (128, 32, 256)
_PENALTIES = (1.0, 0.1, 10.0)


def by_cca(train: MetaTrain, config: Config) -> list[Learner]:
    """Canonical directions of the target, unweighted (Hotelling, Biometrika 1936).

    M = C_tt^-1/2 U, with U diag(rho) V^T = C_tt^-1/2 C_ts C_ss^-1/2.
    """
    found = []
    for front, pair in _fitted(train, config):
        one = cca(pair, _SHRINKAGE, max(_WIDTHS))
        target = one.target[:, : n_spanned(one.correlations)]
        found += [_learner(front, pair, target[:, :w]) for w in _WIDTHS]
    return found


def by_csa(train: MetaTrain, config: Config) -> list[Learner]:
    """Canonical similarity analysis (Li, Chinchali, Topcu, ICLR 2025): rho^p weighs directions.

    g(x) = unit((unit(f(x)) - mean) M) rho^p, M of CCA. Unit canonical coordinates a, b of two rows
    have the similarity sum_i rho_i a_i b_i, that is p = 1/2 for each; p = 1 and 2 trust
    correlations more.
    """
    found = []
    for front, pair in _fitted(train, config):
        one = cca(pair, _SHRINKAGE, config.width)
        found += [_learner(front, pair, one.target, one.correlations**p) for p in (1, 0.5, 2)]
    return found


def by_canonical(train: MetaTrain, config: Config) -> list[Learner]:
    """What CROMA may start from and adapts with, untrained.

    g(x) = [unit(f(x) M sqrt(rho / (1 - rho^2))), w unit(f(x))], M of CCA: coordinates weighted by
    their `evidence` (Bach, Jordan, 2005; Ioffe, ECCV 2006), beside the target's own features.
    """
    return [c for front, pair in _fitted(train, config) for c in canonical(front, pair, config)]


def canonical(front: Whitening, pair: Pair, config: Config) -> list[Learner]:
    """The candidates of `by_canonical` with one front of the target."""
    one = cca(pair, _SHRINKAGE, config.width)
    aligned = _plain(front, one.target * evidence(one.correlations))
    return [Learner(_beside(aligned, front.pooled, weight)) for weight in OWN[:-1]]


def by_procrustes(train: MetaTrain, config: Config) -> list[Learner]:
    """The rotation onto the source (Schonemann, Psychometrika 1966), on its leading directions.

    M = U, with U diag(c) V^T = C_ts: V^T would only turn the result. A rotation alone changes no
    cosine between target rows: what helps is what it leaves out.
    """
    found = []
    for front, pair in _fitted(train, config):
        u, c, _ = product_svd(pair.target.deviations.T, pair.source.deviations.T)
        u = u[:, : n_spanned(c)]
        found += [_learner(front, pair, u[:, :w]) for w in (128, 32, None)]
    return found


def by_ridge(train: MetaTrain, config: Config) -> list[Learner]:
    """Source rows predicted from target rows.

    M = (C_tt + penalty tr(C_tt) / d I)^-1 C_ts, ridge regression (Hoerl, Kennard, Technometrics
    1970).
    """
    return [
        _learner(front, pair, ridge(pair, penalty))
        for front, pair in _fitted(train, config)
        for penalty in _PENALTIES
    ]


def fitted(train: MetaTrain, config: Config) -> Iterator[tuple[Fronts, Pair]]:
    """Fronts and the moments of pairs, for each shrinkage of the whitening."""
    for fronts in fit_fronts(train, config.front_width, SHRINKAGES):
        assert fronts.source
        yield fronts, pair_statistics(train, fronts.source, fronts.target)


def _fitted(train: MetaTrain, config: Config) -> Iterator[tuple[Whitening, Pair]]:
    return ((fronts.target, pair) for fronts, pair in fitted(train, config))


def _learner(
    front: Whitening, pair: Pair, matrix: Tensor, weights: Tensor | None = None
) -> Learner:
    """Nearest class mean of (unit(front(x)) - mean) @ matrix, weighted where weights are."""
    return Learner(mapped(front, pair.target.mean, matrix, weights))


def mapped(front: Whitening, mean: Tensor, matrix: Tensor, weights: Tensor | None = None) -> Front:
    """The map of raw rows (U, D) that a closed form gives; weighted rows are made unit first."""
    mean, matrix = mean.float(), matrix.float()

    def apply(x: Tensor) -> Tensor:
        z = (F.normalize(front.pooled(x), dim=-1) - mean) @ matrix
        return z if weights is None else F.normalize(z, dim=-1) * weights.float()

    return apply


def _plain(front: Whitening, matrix: Tensor) -> Front:
    return lambda x: front.pooled(x) @ matrix.float()


def _beside(aligned: Front, own: Front, weight: float) -> Front:
    def apply(x: Tensor) -> Tensor:
        return torch.cat(
            [F.normalize(aligned(x), dim=-1), weight * F.normalize(own(x), dim=-1)], -1
        )

    return apply


CANONICAL = ClosedForm("canonical + own features", pairs, by_canonical)
CCA = ClosedForm("CCA", pairs, by_cca)
CSA = ClosedForm("CSA", pairs, by_csa)
PROCRUSTES = ClosedForm("Procrustes", pairs, by_procrustes)
RIDGE_MAP = ClosedForm("ridge map", pairs, by_ridge)
