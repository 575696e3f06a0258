"""CROMA: meta-alignment and meta-classification together (arXiv:2012.02813, algorithm 1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.cache import FeatureFile
from xmg.cache.pairs import Rows
from xmg.engine.compute import Each
from xmg.engine.config import Config
from xmg.engine.episodes import Stream, key_of
from xmg.engine.fetch import fetch
from xmg.engine.fronts import Fronts
from xmg.engine.heads import Theta
from xmg.engine.inner import reference
from xmg.engine.inner.choose import SOLVERS, solver_of
from xmg.engine.inner.meta import Outer, mean, reptile, update
from xmg.engine.inner.scratch import scratch
from xmg.engine.inputs import Episode
from xmg.engine.learner import Learner
from xmg.engine.phases import align, classify, head_of, mined, optimizer_of
from xmg.engine.problem import MetaTrain
from xmg.engine.whitening import Whitening

_BLOCK = 4096  # rows fetched at a time


def start(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """theta^meta before training: heads that keep what the encoders know, phi = 0.

    e_t starts as the identity on whitened features, and e_s as the rotation that brings each
    set's mean source row nearest to its mean target row (orthogonal Procrustes: U V^T from the
    singular value decomposition of A^T B, Schonemann, Psychometrika 1966).
    """
    sets = train.sets
    a = _set_means(train.source.file, fronts.source, sets.source_rows, sets.source_offsets)
    b = _set_means(train.target, fronts.target, sets.target_rows, sets.target_offsets)
    u, _, vh = torch.linalg.svd(a.T @ b, full_matrices=False)
    target = torch.eye(b.shape[1], config.width)
    head, rng = head_of(config), torch.Generator()
    rng.manual_seed(int(key_of(config.seed, Stream.HEADS)) >> 1)
    return {
        **head.begin("source", u @ vh @ target, rng),
        **head.begin("target", target, rng),
        "phi": torch.zeros(config.width, config.n_way),
    }


def _set_means(file: FeatureFile, front: Whitening, rows: Rows, offsets: Rows) -> Tensor:
    """Mean unit row of each set, (S, d)."""
    return torch.stack([_mean(file, front, rows[i:j]) for i, j in pairwise(offsets)])


def _mean(file: FeatureFile, front: Whitening, rows: Rows) -> Tensor:
    total = torch.zeros(front.offset.numel())
    for i in range(0, len(rows), _BLOCK):
        total += F.normalize(front(fetch(file, rows[i : i + _BLOCK])), dim=-1).sum(0)
    return total / len(rows)


def learner(theta: Theta, fronts: Fronts, config: Config) -> Learner:
    """CROMA at meta-test: starts from e_t^meta and phi^meta."""
    return Learner(fronts.target, head_of(config), {n: v.detach() for n, v in theta.items()})


@dataclass(frozen=True, slots=True)
class Task:
    """Where one task ended.

    gradient: FOMAML's (Finn, Abbeel, Levine, arXiv:1703.03400, first order), else empty: that of
    the loss where the task ended, on pairs and negatives of a further step and on queries, added
    over both phases.
    """

    theta: Theta
    gradient: Theta
    losses: dict[str, float]  # before the first steps
    solvers: dict[str, str]  # by phase


def adapt(theta: Theta, episode: Episode, config: Config, into: Theta | None = None) -> Task:
    """e_s and e_t descend on NCE over T_a, then phi and e_s on cross-entropy over T_s.

    `into` is memory that what learned may be written to.
    """
    if config.hard:
        episode = replace(episode, target=mined(theta, episode, config))
    gradient: Theta = {}
    losses, solvers = {}, {}
    for name, make, rate in (
        ("align", align, config.align_rate),
        ("classify", classify, config.classify_rate),
    ):
        phase, optimizer = make(episode, config), optimizer_of(config, rate)
        solver = solver_of(phase, optimizer) if config.solver == "auto" else config.solver
        theta, found = SOLVERS[solver](theta, phase, config.inner_steps, optimizer, into or {})
        losses[f"{name}_loss"], solvers[name] = found[0], solver
        if config.meta_gradient == "fomaml":
            for part, value in reference.gradient(theta, phase, config.inner_steps).items():
                gradient[part] = gradient[part] + value if part in gradient else value
    return Task(theta, gradient, losses, solvers)


def meta_iteration(
    theta: Theta,
    outer: Theta,
    episodes: Sequence[Episode],
    config: Config,
    i: int = 0,
    each: Each = map,
) -> list[dict[str, float]]:
    """Adapt to each episode, then take meta-update i: moves theta and the meta-optimizer's state.

    `each` maps a function over the episodes: an executor's map adapts to them side by side.
    Returns the losses of each task before its first steps.
    """

    def run(place: int) -> Task:
        into = {name: scratch(f"{name} of task {place}", value) for name, value in theta.items()}
        return adapt(theta, episodes[place], config, into)

    tasks = list(each(run, range(len(episodes))))
    place = outer_of(config), i, config.iterations
    if config.meta_gradient == "fomaml":
        update(theta, mean([task.gradient for task in tasks]), outer, *place)
    else:
        reptile(theta, [task.theta for task in tasks], outer, *place)
    return [task.losses for task in tasks]


def outer_of(config: Config) -> Outer:
    """The configured meta-optimizer."""
    return Outer(
        config.meta_optimizer, config.meta_step, config.meta_schedule, config.meta_momentum
    )
