"""CROMA: meta-alignment and meta-classification together (arXiv:2012.02813, algorithm 1)."""

from collections.abc import Callable, Sequence
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
from xmg.engine.inner import batched, reference
from xmg.engine.inner.choose import SOLVERS, solver_of
from xmg.engine.inner.meta import Numbers, Outer, mean, reptile, toward, update
from xmg.engine.inner.phase import Optimizer, Phase
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
    singular value decomposition of A^T B, Schonemann, Psychometrika 1966). A modality of
    sequences starts at random, and the other one then as the identity.
    """
    rng = torch.Generator().manual_seed(int(key_of(config.seed, Stream.HEADS)) >> 1)
    source, target = (_identity(front, config) for front in (fronts.source, fronts.target))
    if not (fronts.source.frames or fronts.target.frames):
        sets = train.sets
        a = _set_means(train.source.file, fronts.source, sets.source_rows, sets.source_offsets)
        b = _set_means(train.target, fronts.target, sets.target_rows, sets.target_offsets)
        u, _, vh = torch.linalg.svd(a.T @ b, full_matrices=False)
        source = u @ vh @ target
    return {
        **head_of(config, "source").begin("source", source, rng),
        **head_of(config, "target").begin("target", target, rng),
        "phi": torch.zeros(config.width, config.n_way),
    }


def _identity(front: Whitening, config: Config) -> Tensor:
    """Of a head's shape: sequences have one more column, which marks frames."""
    return torch.eye(front.offset.numel() + front.frames, config.width)


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
    return Learner(
        fronts.target, head_of(config, "target"), {n: v.detach() for n, v in theta.items()}
    )


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


def adapt(theta: Theta, episode: Episode, config: Config, into: Theta | None = None) -> Task:
    """e_s and e_t descend on NCE over T_a, then phi and e_s on cross-entropy over T_s.

    `into` is memory that what learned may be written to.
    """
    if config.hard:
        episode = replace(episode, target=mined(theta, episode, config))
    gradient: Theta = {}
    losses = {}
    for name, make, rate in _phases(config):
        phase, optimizer = make(episode, config), optimizer_of(config, rate)
        solver = SOLVERS[_solver(phase, optimizer, config)]
        theta, found = solver(theta, phase, config.inner_steps, optimizer, into or {})
        losses[f"{name}_loss"] = found[0]
        if config.meta_gradient == "fomaml":
            _accumulate(gradient, reference.gradient(theta, phase, config.inner_steps))
    return Task(theta, gradient, losses)


def solvers(episode: Episode, config: Config) -> dict[str, str]:
    """Which solver takes the steps of each phase."""
    return {
        name: _solver(make(episode, config), optimizer_of(config, rate), config)
        for name, make, rate in _phases(config)
    }


def _solver(phase: Phase, optimizer: Optimizer, config: Config) -> str:
    return solver_of(phase, optimizer) if config.solver == "auto" else config.solver


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
    kind = outer_of(config)
    numbers = kind.numbers(i, config.iterations)
    if config.meta_gradient == "fomaml":
        update(theta, mean([task.gradient for task in tasks]), outer, kind, numbers)
    else:
        reptile(theta, [task.theta for task in tasks], outer, kind, numbers)
    return [task.losses for task in tasks]


def adapt_all(
    theta: Theta, episode: Episode, config: Config
) -> tuple[Theta, Theta, dict[str, Tensor]]:
    """`adapt` to T tasks at once, whose rows lead with a dimension of tasks; waits for no device.

    Returns where what learned ended (T, ...), FOMAML's gradient (T, ...), and the losses (T,).
    """
    n_tasks = len(episode.source)
    theta = {name: value.expand(n_tasks, *value.shape) for name, value in theta.items()}
    if config.hard:
        episode = replace(episode, target=mined(theta, episode, config))
    ends: Theta = {}
    gradient: Theta = {}
    losses = {}
    for name, make, rate in _phases(config):
        phase = make(episode, config)
        moved, found = batched.descend_all(
            {**theta, **ends}, phase, config.inner_steps, optimizer_of(config, rate)
        )
        ends |= moved
        losses[f"{name}_loss"] = found[0]
        if config.meta_gradient == "fomaml":
            held = {n: v for n, v in {**theta, **ends}.items() if n not in moved}
            found_all, _ = batched.gradient_all(moved, held, phase, config.inner_steps)
            _accumulate(gradient, found_all)
    return ends, gradient, losses


def meta_step(
    theta: Theta, outer: Theta, episode: Episode, config: Config, numbers: Numbers
) -> dict[str, Tensor]:
    """One meta-iteration over T stacked tasks, in place, without waiting; returns losses (T,)."""
    ends, gradient, losses = adapt_all(theta, episode, config)
    if config.meta_gradient == "fomaml":
        mean_of = {name: value.mean(0) for name, value in gradient.items()}
        update(theta, mean_of, outer, outer_of(config), numbers)
    else:
        toward(theta, {n: v.mean(0) for n, v in ends.items()}, outer, outer_of(config), numbers)
    return losses


Make = Callable[[Episode, Config], Phase]


def _phases(config: Config) -> tuple[tuple[str, Make, float], ...]:
    return ("align", align, config.align_rate), ("classify", classify, config.classify_rate)


def _accumulate(total: Theta, more: Theta) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def outer_of(config: Config) -> Outer:
    """The configured meta-optimizer."""
    return Outer(
        config.meta_optimizer, config.meta_step, config.meta_schedule, config.meta_momentum
    )
