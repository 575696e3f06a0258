"""Closed-form alignment, then nearest class mean: CCA, CSA, Procrustes, ridge.

They read what CROMA's alignment reads: pairs of whitened rows, no label beside the sets.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.closed_form import cca, evidence, product_svd, ridge
from xmg.engine.config import Config
from xmg.engine.fronts import fit_fronts
from xmg.engine.learner import OWN, Learner
from xmg.engine.methods.system import ClosedForm, pairs
from xmg.engine.set_statistics import Pair, pair_statistics
from xmg.engine.views import MetaTrain
from xmg.engine.whitening import Whitening

Front = Callable[[Tensor], Tensor]

_SHRINKAGES = (0.1, 0.03, 0.3)
_WIDTHS = (128, 32, 256)
_PENALTIES = tuple(10.0**i for i in (0, -1, 1, -2, 2, -3, 3, -4, 4))


def by_cca(train: MetaTrain, config: Config) -> list[Learner]:
    """Canonical directions of the target, unweighted (Hotelling, Biometrika 1936)."""
    front, pair = _fitted(train, config)
    found = [cca(pair, a, max(_WIDTHS)) for a in _SHRINKAGES]
    return [_learner(front, pair, one.target[:, :w]) for one in found for w in _WIDTHS]


def by_csa(train: MetaTrain, config: Config) -> list[Learner]:
    """Canonical similarity analysis (Li, Chinchali, Topcu, ICLR 2025): rho^p weighs directions.

    Unit canonical coordinates a, b of two rows have the similarity sum_i rho_i a_i b_i, that is
    p = 1/2 for each; p = 1 and 2 trust correlations more.
    """
    front, pair = _fitted(train, config)
    found = [cca(pair, a, config.width) for a in _SHRINKAGES]
    return [
        _learner(front, pair, one.target, one.correlations**p) for one in found for p in (1, 0.5, 2)
    ]


def by_canonical(train: MetaTrain, config: Config) -> list[Learner]:
    """What CROMA may start from and adapts with, untrained: canonical coordinates weighted by their
    `evidence`, beside the target's own features at several weights."""
    front, pair = _fitted(train, config)
    found = []
    for a in _SHRINKAGES:
        one = cca(pair, a, config.width)
        aligned = _plain(front, one.target * evidence(one.correlations))
        found += [Learner(_beside(aligned, front.pooled, weight)) for weight in OWN[1:]]
    return found


def by_procrustes(train: MetaTrain, config: Config) -> list[Learner]:
    """The rotation onto the source (Schonemann, Psychometrika 1966), on its leading directions.

    A rotation alone changes no cosine between target rows: what helps is what it leaves out.
    """
    front, pair = _fitted(train, config)
    u = product_svd(pair.target.deviations.T, pair.source.deviations.T)[0]
    return [_learner(front, pair, u[:, :w]) for w in (128, 32, 64, 16, 256, None)]


def by_ridge(train: MetaTrain, config: Config) -> list[Learner]:
    """Source rows predicted from target rows by ridge regression."""
    front, pair = _fitted(train, config)
    return [_learner(front, pair, ridge(pair, penalty)) for penalty in _PENALTIES]


def _fitted(train: MetaTrain, config: Config) -> tuple[Whitening, Pair]:
    fronts = fit_fronts(train, config.front_width)
    assert fronts.source
    return fronts.target, pair_statistics(train, fronts.source, fronts.target)


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
