"""SimpleShot (Wang, Chao, Weinberger, van der Maaten, arXiv:1911.04623): CL2N.

    argmin_c |unit(x - m) - mean of unit(x_i - m) over the k rows of class c|,

m the mean of the unlabelled target rows of meta-training, which is all that it reads there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch, vectors
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.views import TargetOnly
from xmg.engine.methods.system import ClosedForm, unlabelled

_BLOCK = 4096


class Alone(NamedTuple):
    """There is nothing to choose."""


@dataclass(frozen=True, slots=True)
class SimpleShot:
    """Nearest centroid of centred unit rows; mean (D,)."""

    mean: Tensor
    frames: bool

    def settings(self) -> Sequence[Alone]:
        """One."""
        return [Alone()]

    def scores(self, tasks: Tasks, settings: Sequence[Alone], tau: float) -> Tensor:
        """Minus the squared distances of queries to centroids."""
        z = F.normalize(vectors(self.frames)(tasks.x) - self.mean, dim=-1)
        support, query = (
            z[tasks.locate(part)].flatten(1, 2) for part in (tasks.support, tasks.query)
        )
        chosen = F.one_hot(tasks.support_labels, tasks.support.shape[1]).to(z)  # (E, n, n_way)
        count = chosen.sum(1, keepdim=True).mT  # (E, n_way, 1)
        centroids = chosen.mT @ support / count.clamp_min(1)
        distances = torch.cdist(query, centroids).square()
        return -distances.masked_fill(count.mT == 0, torch.inf)[None]


def candidates(view: TargetOnly, _: Config) -> list[SimpleShot]:
    """One, with the mean of the rows (of sequences: of mean frames)."""
    file, rows = view.target.file, view.target.rows
    total = torch.zeros(file.dim, dtype=torch.float64)
    for i in range(0, len(rows), _BLOCK):
        total += vectors(file.is_sequence)(fetch(file, rows[i : i + _BLOCK])).double().sum(0)
    return [SimpleShot((total / len(rows)).float(), file.is_sequence)]


SIMPLESHOT = ClosedForm("SimpleShot", unlabelled, candidates)
