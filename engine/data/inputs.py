"""The data of one meta-iteration: what it is made of, and which rows are drawn for it."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.data.episodes import classes_of_task, draw_pairs, draw_shared_negatives, draw_tasks
from xmg.engine.data.pool import Pool
from xmg.engine.data.streams import Stream, key_of
from xmg.engine.data.views import MetaTrain, TargetOnly, View, WithTargetLabels


def _none() -> Tensor:
    return torch.empty(0)


def _no_rows() -> Rows:
    return np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Episode:
    """One task T_a and one task T_s: whitened rows (d columns).

    target: the pairs' rows, then the negatives': B x K where each pair has its own, pair by pair,
    T x K where those of step t share theirs, step by step, K where the task does, and M where
    they are candidates for hard ones. Rows of sequences are (L, d + 1), see `fetch_frames`.
    Parts that a view has no data for are empty.
    """

    source: Tensor = field(default_factory=_none)  # (B, d_s)
    target: Tensor = field(default_factory=_none)  # (B + negatives, d_t)
    shots: Tensor = field(default_factory=_none)  # (n_way * k, d_s), class by class
    labels: Tensor = field(default_factory=_none)  # (n_way * k,), of the target's shots too
    n_sets: int = 0  # pair b is of set b % n_sets
    stacked: bool = False  # whether rows lead with a dimension of tasks
    target_shots: Tensor = field(default_factory=_none)  # (n_way * k, d_t), class by class
    classes: Tensor = field(default_factory=_none)  # (n_way * k,), of all source classes
    target_classes: Tensor = field(default_factory=_none)  # the same of the target's shots

    @property
    def n_pairs(self) -> int:
        """B."""
        return self.source.shape[1 if self.stacked else 0]


def n_steps_drawn(config: Config) -> int:
    """Steps that a task has data for: FOMAML reads one more, after the last."""
    return config.inner_steps + (config.meta_gradient == "fomaml")


def step_size(config: Config, n: int) -> int:
    """How many of n pairs, or shots, a step reads."""
    return min(config.batch or n, n)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An episode by numbers of rows, shaped as its tensors are but for the columns."""

    source: Rows = field(default_factory=_no_rows)
    target: Rows = field(default_factory=_no_rows)
    shots: Rows = field(default_factory=_no_rows)
    n_sets: int = 0
    target_shots: Rows = field(default_factory=_no_rows)
    classes: Rows = field(default_factory=_no_rows)
    target_classes: Rows = field(default_factory=_no_rows)


def draw_rows(view: View, config: Config, i: int) -> Drawn:
    """Draw the rows of task i, of all that a view shows."""
    if isinstance(view, WithTargetLabels):
        return _with_target(draw_rows(view.train, config, i), view.target, config, i)
    if isinstance(view, TargetOnly):
        return _with_target(Drawn(), view.target, config, i)
    assert isinstance(view, MetaTrain)
    n_sets = min(config.n_sets, len(view.sets))
    own = config.negatives == "pair" and not config.hard
    key = key_of(config.seed, Stream.ALIGN)
    shape = (n_sets, pairs_of_set(config), config.n_negatives if own else 0)
    source, target, negatives = draw_pairs(view.sets, key, i, shape)
    if not own:
        negatives = draw_shared_negatives(view.sets, key, i, n_sets, n_shared(config))
    key, k = key_of(config.seed, Stream.CLASSIFY), config.n_shots
    shots, _ = draw_tasks(view.source, key, i, (1, config.n_way, k, 0))
    classes = classes_of_task(view.source, key, i, config.n_way).repeat(k)
    target = np.concatenate([target, negatives.ravel()])
    return Drawn(source, target, shots.ravel(), n_sets, classes=classes)


def _with_target(drawn: Drawn, pool: Pool, config: Config, i: int) -> Drawn:
    """With target rows of task i, group by group: as many as a task of n_way classes has."""
    n_way = min(config.n_way, len(pool.classes))
    k = config.n_way * config.n_shots // n_way
    key = key_of(config.seed, Stream.TARGET)
    rows, _ = draw_tasks(pool, key, i, (1, n_way, k, 0))
    classes = classes_of_task(pool, key, i, n_way).repeat(k)
    return replace(drawn, target_shots=rows.ravel(), target_classes=classes)


def labels_of(config: Config) -> Tensor:
    """Labels of the shots, class by class."""
    return torch.arange(config.n_way).repeat_interleave(config.n_shots)


def pairs_of_set(config: Config) -> int:
    """How many pairs of each set a task has."""
    return 1 if config.sets == "id" and not config.concepts else config.k_pairs


def n_shared(config: Config) -> int:
    """How many negatives, or candidates, are drawn for all pairs of a task."""
    if config.hard:
        return config.n_candidates
    n_pools = n_steps_drawn(config) if config.negatives == "step" else 1
    return n_pools * config.n_negatives
