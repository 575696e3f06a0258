"""What a system is: which data it may read, how it starts, and what it learns from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmg.engine.config import Config, Start
from xmg.engine.data.pool import pool_by_labels
from xmg.engine.data.problem import Problem
from xmg.engine.data.views import MetaTrain, Nothing, TargetOnly, Trainable, View, WithTargetLabels
from xmg.engine.learner import Classifier, Learner
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import head_of


def serves(_: object, __: Config) -> None:
    """Whatever has opened serves."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A system that is trained over episodes.

    view: what it may read, and all that it is given. start: theta^meta before training. stages:
    what an iteration learns from, in turn. check: raises XmgError where it cannot learn from that.
    """

    title: str
    view: Callable[[Problem, Config], Trainable]
    start: Callable[[Any, Fronts, Config], Theta]  # of what `view` gives
    stages: tuple[Stage, ...]
    starts: tuple[Start, ...] = ("identity",)  # what start = "best" chooses from
    check: Callable[[Any, Config], None] = serves  # of what `view` gives


@dataclass(frozen=True, slots=True)
class ClosedForm:
    """A system without episodes: a few candidates, of which meta-validation chooses for each k."""

    title: str
    view: Callable[[Problem, Config], View]
    candidates: Callable[[Any, Config], Sequence[Classifier]]


def samples_read(system: Trained | ClosedForm, view: View) -> dict[str, int]:
    """How many target samples a system reads in meta-training, and how many with their labels.

    view: what it was given. A sample of several pairs is one.
    """
    labelled = view.target if isinstance(view, WithTargetLabels) else None
    if isinstance(view, TargetOnly) and system.view is target_labels:
        labelled = view.target
    n_labels = int(labelled.sizes.sum()) if labelled else 0
    if isinstance(view, Nothing):
        return {"samples": 0, "labels": 0}
    if isinstance(view, TargetOnly):
        return {"samples": len(np.unique(view.target.rows)), "labels": n_labels}
    train = view if isinstance(view, MetaTrain) else view.train
    return {"samples": len(np.unique(train.sets.target_rows)), "labels": n_labels}


def learner(theta: Theta, fronts: Fronts, config: Config) -> Learner:
    """A trained system at meta-test: starts from e_t^meta and phi^meta, beside its own features."""
    theta = {name: value.detach() for name, value in theta.items()}
    return Learner(fronts.target, head_of(config, "target"), theta, fronts.target.pool)


def pairs(problem: Problem, _: Config) -> MetaTrain:
    """Labelled source rows and pairs; no target label."""
    return problem.train


def target_labels(problem: Problem, _: Config) -> TargetOnly:
    """Labelled target rows of meta-training; no source."""
    return problem.labelled


def unlabelled(problem: Problem, _: Config) -> TargetOnly:
    """The target rows of the pairs as one group; no source, no sets."""
    train = problem.train
    rows = train.sets.target_rows
    return TargetOnly(pool_by_labels(train.target, ("all",), rows, np.zeros(len(rows), np.int64)))


def target_sets(problem: Problem, _: Config) -> TargetOnly:
    """The target rows of the pairs by their sets; no source."""
    train = problem.train
    sizes = np.diff(train.sets.target_offsets)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    return TargetOnly(pool_by_labels(train.target, train.sets.names, train.sets.target_rows, owner))


def nothing(problem: Problem, _: Config) -> Nothing:
    """No row of meta-training."""
    file = problem.train.target
    return Nothing(file.dim, file.is_sequence)
