"""Few-shot tasks of one pool, fetched: the frozen episodes that every system meets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.data.episodes import classes_of_task, draw_class_sets, draw_tasks
from xmg.engine.data.fetch import fetch
from xmg.engine.data.pool import Pool, flipped
from xmg.engine.data.streams import Stream, child_key, key_of
from xmg.engine.data.views import MetaTest, MetaValidation


@dataclass(frozen=True, slots=True)
class Tasks:
    """E episodes by number of row; x holds each row that occurs once.

    support (E, n_way, k) and query (E, n_way, q) are rows of the feature file;
    x[i] (U, D) are the features of row rows[i], raw. labels (E, n_way * k) in [0, n_way) are those
    that a learner is told of the support, by default the true ones.
    """

    support: Rows
    query: Rows
    rows: Rows
    x: Tensor
    labels: Rows | None = None
    names: tuple[tuple[str, ...], ...] = ()  # of each task's classes

    @property
    def support_labels(self) -> Tensor:
        """(E, n_way * k)."""
        if self.labels is not None:
            return torch.from_numpy(self.labels)
        n_tasks, n_way, k = self.support.shape
        return torch.arange(n_way).repeat_interleave(k).expand(n_tasks, n_way * k)

    @property
    def query_labels(self) -> Tensor:
        """(n_way * n_query,), class by class."""
        return torch.arange(self.query.shape[1]).repeat_interleave(self.query.shape[2])

    def locate(self, part: Rows) -> Tensor:
        """Map rows of the file to rows of x."""
        return torch.from_numpy(np.searchsorted(self.rows, part))

    def digest(self) -> str:
        """SHA-256 of the rows of both parts."""
        return hashlib.sha256(self.support.tobytes() + self.query.tobytes()).hexdigest()


def validation_tasks(
    part: MetaValidation, config: Config, shots: Sequence[int]
) -> dict[int, Tasks]:
    """Draw the meta-validation tasks of each shot count; classes anew for each task."""
    key = key_of(config.seed, Stream.VALIDATION)
    return {k: _draw(part.target, key, config, k, config.n_validation) for k in shots}


def selection_tasks(part: MetaValidation, config: Config, shots: Sequence[int]) -> dict[int, Tasks]:
    """The same tasks, and as many again that no checkpoint was chosen by: settings are."""
    wider = config.model_copy(update={"n_validation": config.n_selection})
    return validation_tasks(part, wider, shots)


def class_sets(part: MetaTest, config: Config) -> Rows:
    """Draw the classes of the fixed meta-test tasks, (n_tasks, n_way) numbers in the pool."""
    key = key_of(config.seed, Stream.TEST_CLASSES)
    return draw_class_sets(part.target, key, config.n_tasks, config.n_way)


def test_tasks(part: MetaTest, config: Config, shots: Sequence[int]) -> dict[int, Tasks]:
    """Draw n_repeats support and query sets for each fixed task.

    Episode r * n_tasks + t is repeat r of task t. The shot counts of a config share the
    queries, and the support of fewer shots lies inside that of more.
    """
    choices = np.tile(class_sets(part, config), (config.n_repeats, 1))
    key = key_of(config.seed, Stream.TEST_ROWS)
    return {k: _draw(part.target, key, config, k, len(choices), choices) for k in shots}


def _draw(
    pool: Pool, key: np.uint64, config: Config, k: int, n: int, choices: Rows | None = None
) -> Tasks:
    most = max(k, *config.shots)  # which recordings fit depends on it, so all counts draw it
    support, query = draw_tasks(pool, key, 0, (n, config.n_way, most, config.n_query), choices)
    support = support[:, :, :k]
    rows = np.unique(np.concatenate([support.ravel(), query.ravel()]))
    labels = None if not config.label_noise else _noisy(support.shape, most, key, config)
    if choices is None:
        choices = np.stack([classes_of_task(pool, key, e, config.n_way) for e in range(n)])
    names = tuple(tuple(pool.classes[c] for c in row) for row in choices)
    return Tasks(support, query, rows, fetch(pool.file, rows), labels, names)


def _noisy(shape: tuple[int, ...], most: int, key: np.uint64, config: Config) -> Rows:
    """Labels of the support, some wrong: the same for a row at all shot counts."""
    n, n_way, k = shape
    rng = np.random.Generator(np.random.Philox(int(child_key(key, Stream.NOISE))))
    clean = np.broadcast_to(np.arange(n_way)[:, None], (n, n_way, most))
    return flipped(clean, n_way, config.label_noise, rng)[:, :, :k].reshape(n, n_way * k)


def describe(tasks: Mapping[int, Tasks]) -> dict[str, object]:
    """The rows of each shot count and their digest, for a manifest."""
    return {
        str(k): {
            "sha256": t.digest(),
            "support": t.support.tolist(),
            "query": t.query.tolist(),
        }
        for k, t in tasks.items()
    }
