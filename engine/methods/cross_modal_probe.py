"""Cross-modal linear probe (Lin, Yu, Kuang, Pathak, Ramanan, CVPR 2023).

A logistic probe whose support holds source samples too, in the space that CCA of the pairs gives:

    min C sum_i -log softmax(z_i W + b)[y_i] + 1/2 |W|^2,   z = unit(unit(a) rho),

a canonical coordinates of k target rows and of k source rows of each class, rho the correlations.
It reads pairs, and more than CROMA does: source samples of the new classes, by their labels. So it
can run only where the source has classes of the target's names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch
from xmg.engine.data.pool import Pool
from xmg.engine.data.problem import Problem, source_of_new_classes
from xmg.engine.data.streams import Stream, child_key, key_of
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.views import NewSource
from xmg.engine.methods.maps import fitted, mapped
from xmg.engine.methods.probes import STRENGTHS, Strength
from xmg.engine.methods.system import ClosedForm
from xmg.engine.model.closed_form import cca
from xmg.engine.model.linear_probe import Array, decision


@dataclass(frozen=True, slots=True)
class CrossModalProbe:
    """Unit rows of both modalities in one space; source (L, w) are those of new classes."""

    target: Callable[[Tensor], Tensor]
    source: Tensor
    pool: Pool  # of those rows, in their order
    seed: int

    def settings(self) -> Sequence[Strength]:
        """Penalties."""
        return STRENGTHS

    def scores(self, tasks: Tasks, settings: Sequence[Strength], tau: float) -> Tensor:
        """Decision values of queries, (settings, E, n, n_way)."""
        z = F.normalize(self.target(tasks.x), dim=-1).numpy()
        labels, n_way = tasks.support_labels.numpy(), tasks.support.shape[1]
        found = []
        for e, names in enumerate(tasks.names):
            support, query = (
                z[tasks.locate(part[e].ravel())] for part in (tasks.support, tasks.query)
            )
            extra, extra_labels = self._borrowed(names, tasks.support.shape[2], e)
            x = np.concatenate([support, extra])
            y = np.concatenate([labels[e], extra_labels])
            found.append([decision("logistic", s.c, x, y, query, n_way) for s in settings])
        return torch.from_numpy(np.array(found)).transpose(0, 1)

    def _borrowed(self, names: Sequence[str], k: int, e: int) -> tuple[Array, Rows]:
        """k source rows of each class, drawn anew for each task."""
        key = child_key(key_of(self.seed, Stream.BORROWED), e)
        rng = np.random.Generator(np.random.Philox(int(key)))
        places, labels = [], []
        for label, name in enumerate(names):
            c = self.pool.classes.index(name)
            size, start = int(self.pool.sizes[c]), int(self.pool.sizes[:c].sum())
            places.append(start + rng.permutation(size)[:k])
            labels.append(np.full(min(k, size), label))
        return self.source[np.concatenate(places)].numpy(), np.concatenate(labels)


def new_source(problem: Problem, config: Config) -> NewSource:
    """Pairs of meta-training, and source samples of the held-out classes."""
    return NewSource(problem.train, source_of_new_classes(problem, config))


def candidates(view: NewSource, config: Config) -> list[CrossModalProbe]:
    """By how far the whitening is shrunk."""
    x = fetch(view.source.file, view.source.rows)
    found = []
    for fronts, pair in fitted(view.train, config):
        assert fronts.source
        one = cca(pair, config.shrinkage, config.width)
        target, source = (
            mapped(front, side.mean, matrix, one.correlations)
            for front, side, matrix in (
                (fronts.target, pair.target, one.target),
                (fronts.source, pair.source, one.source),
            )
        )
        rows = F.normalize(source(x), dim=-1)
        found.append(CrossModalProbe(target, rows, view.source, config.seed))
    return found


CROSS_MODAL_PROBE = ClosedForm("cross-modal probe: new source samples", new_source, candidates)
