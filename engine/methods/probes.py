"""Linear probes of scikit-learn on frozen target features: logistic and ridge.

Of z = unit(g(x)), g the features as they are or whitened, a task's k labels fit W and b by

    logistic   min C sum_i -log softmax(z_i W + b)[y_i] + 1/2 |W|^2,
    ridge      min sum_i |z_i W + b - t_i|^2 + 1/C |W|^2,   t_i 1 for y_i and -1 elsewhere,

the usual test of frozen features (Alain, Bengio, arXiv:1610.01644). Of meta-training they read
unlabelled target rows, to whiten by.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.fetch import vectors
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.views import TargetOnly
from xmg.engine.methods.system import ClosedForm, unlabelled
from xmg.engine.model.linear_probe import decision
from xmg.engine.model.whitening import fit_whitenings


class Strength(NamedTuple):
    """Inverse weight of the penalty: C of logistic regression, 1 / alpha of ridge."""

    c: float


STRENGTHS = tuple(Strength(10.0**i) for i in (1, 0, 2))  # the middle first


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear classifier of unit rows front(x), fitted on the support of each task."""

    kind: str  # "logistic" or "ridge"
    front: Callable[[Tensor], Tensor]

    def settings(self) -> Sequence[Strength]:
        """Penalties."""
        return STRENGTHS

    def scores(self, tasks: Tasks, settings: Sequence[Strength], tau: float) -> Tensor:
        """Decision values of queries, (settings, E, n, n_way)."""
        z = F.normalize(self.front(tasks.x), dim=-1).numpy()
        support, query = (z[tasks.locate(part).flatten(1)] for part in (tasks.support, tasks.query))
        labels, n_way = tasks.support_labels.numpy(), tasks.support.shape[1]
        tasks_of = list(zip(support, labels, query, strict=True))
        found = [[decision(self.kind, s.c, *task, n_way) for task in tasks_of] for s in settings]
        return torch.from_numpy(np.array(found))


def _probes(kind: str) -> Callable[[TargetOnly, Config], list[Probe]]:
    def candidates(view: TargetOnly, _: Config) -> list[Probe]:
        file = view.target.file
        fronts = fit_whitenings(file, view.target.rows, file.dim)
        return [
            Probe(kind, front)
            for front in (vectors(file.is_sequence), *(front.pooled for front in fronts))
        ]

    return candidates


LOGISTIC = ClosedForm("logistic probe", unlabelled, _probes("logistic"))
RIDGE = ClosedForm("ridge probe", unlabelled, _probes("ridge"))
