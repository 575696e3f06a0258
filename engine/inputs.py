"""The data of one meta-iteration: drawn, fetched as stored, and passed through the fronts."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

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
    they are candidates for hard ones.
    """

    source: Tensor  # (B, d_s)
    target: Tensor  # (B + negatives, d_t)
    shots: Tensor  # (n_way * k, d_s), class by class
    labels: Tensor  # (n_way * k,)
    n_sets: int  # pair b is of set b % n_sets


def n_steps_drawn(config: Config) -> int:
    """Steps that a task has data for: FOMAML reads one more, after the last."""
    return config.inner_steps + (config.meta_gradient == "fomaml")


def draw(train: MetaTrain, config: Config, i: int) -> Episode:
    """Fetch the data of task i, as it is stored."""
    n_sets = min(config.n_sets, len(train.sets))
    k_pairs = config.k_pairs if config.concepts or config.sets == "label" else 1
    own = config.negatives == "pair" and not config.hard
    key = key_of(config.seed, Stream.ALIGN)
    shape = (n_sets, k_pairs, config.n_negatives if own else 0)
    source, target, negatives = draw_pairs(train.sets, key, i, shape)
    if not own:
        negatives = draw_shared_negatives(train.sets, key, i, n_sets, n_shared(config))
    n_shots = config.k_shot * (2 if config.meta_gradient == "fomaml" else 1)
    support, _ = draw_tasks(
        train.source, key_of(config.seed, Stream.CLASSIFY), i, (1, config.n_way, n_shots, 0)
    )
    return Episode(
        fetch_stored(train.source.file, source, n_threads=1),  # the loop needs its cores
        fetch_stored(train.target, np.concatenate([target, negatives.ravel()]), n_threads=1),
        fetch_stored(train.source.file, support, n_threads=1).flatten(0, -2),
        torch.arange(config.n_way).repeat_interleave(n_shots),
        n_sets,
    )


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
