"""The data of one meta-iteration: drawn, fetched as stored, and passed through the fronts."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.episodes import Stream, draw_pairs, draw_shared_negatives, draw_tasks, key_of
from xmg.engine.fetch import fetch_stored
from xmg.engine.fronts import Fronts
from xmg.engine.problem import MetaTrain


@dataclass(frozen=True, slots=True)
class Episode:
    """One task T_a and one task T_s: stored rows (D columns), or whitened ones (d).

    target: the pairs' rows, then the negatives': B x K where each pair has its own, pair by pair,
    T x K where those of step t share theirs, step by step, K where the task does, and M where
    they are candidates for hard ones. Rows of sequences are (L, d + 1), see `fetch_frames`.
    """

    source: Tensor  # (B, d_s)
    target: Tensor  # (B + negatives, d_t)
    shots: Tensor  # (n_way * k, d_s), class by class
    labels: Tensor  # (n_way * k,)
    n_sets: int  # pair b is of set b % n_sets
    stacked: bool = False  # whether rows lead with a dimension of tasks

    @property
    def n_pairs(self) -> int:
        """B."""
        return self.source.shape[1 if self.stacked else 0]


def n_steps_drawn(config: Config) -> int:
    """Steps that a task has data for: FOMAML reads one more, after the last."""
    return config.inner_steps + (config.meta_gradient == "fomaml")


@dataclass(frozen=True, slots=True)
class Drawn:
    """An episode by numbers of rows, shaped as its tensors are but for the columns."""

    source: Rows
    target: Rows
    shots: Rows
    n_sets: int


def draw_rows(train: MetaTrain, config: Config, i: int) -> Drawn:
    """Draw the rows of task i."""
    n_sets = min(config.n_sets, len(train.sets))
    k_pairs = config.k_pairs if config.concepts or config.sets == "label" else 1
    own = config.negatives == "pair" and not config.hard
    key = key_of(config.seed, Stream.ALIGN)
    shape = (n_sets, k_pairs, config.n_negatives if own else 0)
    source, target, negatives = draw_pairs(train.sets, key, i, shape)
    if not own:
        negatives = draw_shared_negatives(train.sets, key, i, n_sets, n_shared(config))
    key = key_of(config.seed, Stream.CLASSIFY)
    shots, _ = draw_tasks(train.source, key, i, (1, config.n_way, n_shots(config), 0))
    return Drawn(source, np.concatenate([target, negatives.ravel()]), shots.ravel(), n_sets)


def draw(train: MetaTrain, config: Config, i: int) -> Episode:
    """Fetch the data of task i, as it is stored."""
    drawn = draw_rows(train, config, i)
    return Episode(
        fetch_stored(train.source.file, drawn.source, n_threads=1),  # the loop needs its cores
        fetch_stored(train.target, drawn.target, n_threads=1),
        fetch_stored(train.source.file, drawn.shots, n_threads=1),
        labels_of(config),
        drawn.n_sets,
    )


def n_shots(config: Config) -> int:
    """Rows of each class in T_s: FOMAML has as many queries as shots."""
    return config.k_shot * (2 if config.meta_gradient == "fomaml" else 1)


def labels_of(config: Config) -> Tensor:
    """Labels of the shots, class by class."""
    return torch.arange(config.n_way).repeat_interleave(n_shots(config))


def n_shared(config: Config) -> int:
    """How many negatives, or candidates, are drawn for all pairs of a task."""
    if config.hard:
        return config.n_candidates
    n_pools = n_steps_drawn(config) if config.negatives == "step" else 1
    return n_pools * config.n_negatives


def whiten(episode: Episode, fronts: Fronts) -> Episode:
    """Pass an episode through the frozen fronts."""
    return replace(
        episode,
        source=fronts.source(episode.source),
        target=fronts.target(episode.target),
        shots=fronts.source(episode.shots),
    )
