"""What systems without training answer on held-out classes, class by class.

Tasks share classes, so classes and not tasks are the unit of an interval.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xmg.cache import XmgError
from xmg.cache.pairs import Rows
from xmg.engine.ablation.statistics import half_width
from xmg.engine.config import Config
from xmg.engine.data.tasks import Tasks, validation_tasks
from xmg.engine.data.views import MetaValidation
from xmg.engine.evaluate import plainest
from xmg.engine.learner import Classifier

Array = npt.NDArray[np.floating[Any]]

N_FOLDS = 4
_GRID = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)


class Interval(NamedTuple):
    """A mean and its 95% interval."""

    mean: float
    low: float
    high: float


def curve_tasks(part: MetaValidation, config: Config) -> dict[int, Tasks]:
    """Meta-validation tasks of all shot counts of a curve, and of those of the config.

    All counts share their queries, and the support of fewer shots lies inside that of more. The
    curve goes on as long as the least class, and its recordings, can serve queries beside it.
    """
    room = int(part.target.sizes.min()) - config.n_query
    counts = sorted({*config.shots, *(k for k in _GRID if k <= max(room, *config.shots))})
    while True:
        try:
            whole = config.model_copy(update={"shots": tuple(counts)})
            return validation_tasks(part, whole, counts)
        except XmgError:  # recordings are fewer than samples
            if counts[-1] in config.shots:
                raise
            counts.pop()


def right(candidates: Sequence[Classifier], tasks: Tasks, tau: float) -> Array:
    """Share of each class's queries answered right, (choices, E, n_way)."""
    _, n_way, n_query = tasks.query.shape
    found = []
    for one in candidates:
        predicted = one.scores(tasks, one.settings(), tau).argmax(-1)
        answered = (predicted == tasks.query_labels).double()
        found.append(answered.reshape(*answered.shape[:2], n_way, n_query).mean(-1))
    return torch.cat(found).numpy()


def class_numbers_of(tasks: Tasks, classes: Sequence[str]) -> Rows:
    """The number of each task's classes, (E, n_way)."""
    number = {name: i for i, name in enumerate(classes)}
    return np.array([[number[name] for name in names] for names in tasks.names])


def cross_fitted(found: Array, classes: Rows) -> Array:
    """Accuracy (C,) of each class, by settings that neither its queries nor these tasks chose.

    found (choices, E, n_way), classes (E, n_way) in [0, C). For a class and a fold of tasks, the
    other classes' queries in the other folds choose: the plainest within one standard error of the
    best, as selection does. NaN for a class that is in no task.
    """
    n_tasks = len(classes)
    fold = np.arange(n_tasks) % min(N_FOLDS, n_tasks)
    accuracy = np.full(int(classes.max()) + 1, np.nan)
    for c in range(len(accuracy)):
        own = classes == c
        others = np.nanmean(np.where(own, np.nan, found), axis=-1)  # (choices, E)
        parts = []
        for f in range(fold.max() + 1):
            apart = others[:, fold != f] if fold.any() else others
            parts.append(found[plainest(apart)][own & (fold == f)[:, None]])
        values = np.concatenate(parts)
        accuracy[c] = values.mean() if len(values) else np.nan
    return accuracy


def interval(values: Array) -> Interval:
    """Mean of values (C,) over classes, with the 95% interval of Student's t."""
    mean = float(values.mean())
    half = half_width(values) if len(values) > 1 else np.inf
    return Interval(mean, mean - half, mean + half)


def resampled(n: int, rng: np.random.Generator, n_draws: int = 1000) -> Array:
    """Weights (n_draws, n) of a bootstrap over n classes; each row sums to 1."""
    return rng.multinomial(n, np.full(n, 1 / n), size=n_draws) / n
