"""First and second moments of sets of pairs, one pass over either file: what closed forms need."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.cache import FeatureFile
from xmg.cache.pairs import Rows
from xmg.engine.data.fetch import fetch
from xmg.engine.data.views import MetaTrain
from xmg.engine.model.whitening import Whitening

_BLOCK = 4096  # rows fetched at a time


@dataclass(frozen=True, slots=True)
class SetStatistics:
    """Of unit rows x drawn as a pair's are: a set i with probability p_i, then a row of it.

    means (S, d): of each set. mean (d,): over all. covariance (d, d): around that. float64.
    """

    shares: Tensor  # p, (S,)
    means: Tensor
    mean: Tensor
    covariance: Tensor

    @property
    def deviations(self) -> Tensor:
        """sqrt(p_i) (mean of set i - mean), (S, d): D^T D is the covariance between sets."""
        return (self.means - self.mean) * self.shares[:, None].sqrt()

    @property
    def within(self) -> Tensor:
        """Mean covariance inside sets, (d, d)."""
        return self.covariance - self.deviations.T @ self.deviations


class Pair(NamedTuple):
    """Both modalities' statistics, over the same sets."""

    source: SetStatistics
    target: SetStatistics

    @property
    def cross(self) -> Tensor:
        """Covariance of target with source rows over all pairs of X_s x X_t, (d_t, d_s).

        Within a set the two are drawn apart, so only its means count.
        """
        return self.target.deviations.T @ self.source.deviations


def pair_statistics(train: MetaTrain, source: Whitening, target: Whitening) -> Pair:
    """Moments of whitened pairs; a set counts by its target rows."""
    sets = train.sets
    sizes = np.diff(sets.target_offsets)
    shares = torch.from_numpy(sizes / sizes.sum())
    return Pair(
        set_statistics(train.source.file, source, sets.source_rows, sets.source_offsets, shares),
        set_statistics(train.target, target, sets.target_rows, sets.target_offsets, shares),
    )


def set_statistics(
    file: FeatureFile, front: Whitening, rows: Rows, offsets: Rows, shares: Tensor
) -> SetStatistics:
    """Moments of the sets rows[offsets[i] : offsets[i + 1]], of sequences by their mean frame."""
    sizes = np.diff(offsets)
    owner = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes))
    weight = (shares / torch.from_numpy(sizes))[owner, None]  # of a row
    d = front.offset.numel()
    means = torch.zeros(len(sizes), d, dtype=torch.float64)
    second = torch.zeros(d, d, dtype=torch.float64)
    for i in range(0, len(rows), _BLOCK):
        part = slice(i, i + _BLOCK)
        x = F.normalize(front.pooled(fetch(file, rows[part])).double(), dim=-1)
        means.index_put_((owner[part],), x, accumulate=True)  # index_add_ wakes threads by row
        second += x.T @ (x * weight[part])
    means /= torch.from_numpy(sizes)[:, None]
    mean = shares @ means
    return SetStatistics(shares, means, mean, second - torch.outer(mean, mean))
