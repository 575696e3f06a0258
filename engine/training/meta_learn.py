"""Meta-iterations of any system: stages adapt to tasks, then theta moves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from xmg.engine.compute import Each
from xmg.engine.config import Config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner import batched, reference
from xmg.engine.inner.choose import SOLVERS, solver_of
from xmg.engine.inner.meta import MeanInTurn, Numbers, Outer, moved, toward, update
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.scratch import scratch
from xmg.engine.model.heads import Theta
from xmg.engine.training.phases import mined, optimizer_of

Together = Callable[[Mapping[str, Tensor]], Theta]  # means over processes

_ORDINARY = "ordinary."  # of the names of Adam's state that lasts
_LOSS = "loss."  # of the names under which losses travel


@dataclass(frozen=True, slots=True)
class Stage:
    """What a system learns from one task of an episode.

    A stage adapts a copy of theta, and the meta-update follows. An ordinary one is plain training:
    theta itself takes the same number of Adam steps, whose state, the stage's own, lasts from task
    to task, and whose rate follows the schedule of the meta-update.
    """

    name: str
    make: Callable[[Episode, Config], Phase]
    rate: Callable[[Config], float]
    ordinary: bool = False


Stages = Sequence[Stage]


@dataclass(frozen=True, slots=True)
class Task:
    """Where one task ended.

    gradient: FOMAML's (Finn, Abbeel, Levine, arXiv:1703.03400, first order), else empty: that of
    the loss where the task ended, on the rows of a further step and on queries, added over the
    stages. Where steps read all pairs and their own negatives, the further one reads the same.
    """

    theta: Theta
    gradient: Theta
    losses: dict[str, float]  # before the first steps


def begin(theta: Theta, stages: Stages, config: Config) -> Theta:
    """State of the meta-optimizer and of ordinary stages before training."""
    state = outer_of(config).begin(theta)
    for stage in _ordinary(stages):
        adam = Outer("adam", 0.0).begin(theta)
        state |= {f"{_own(stage)}{name}": value for name, value in adam.items()}
    return state


def adapt(
    theta: Theta, episode: Episode, stages: Stages, config: Config, into: Theta | None = None
) -> Task:
    """Descend on the loss of each stage in turn, from theta.

    `into` is memory that what learned may be written to.
    """
    episode = _ready(theta, episode, config)
    gradient: Theta = {}
    losses = {}
    for stage in stages:
        phase = stage.make(episode, config)
        optimizer = optimizer_of(config, stage.rate(config))
        solver = SOLVERS[_solver(phase, optimizer, config)]
        theta, found = solver(theta, phase, config.inner_steps, optimizer, into or {})
        losses[f"{stage.name}_loss"] = found[0]
        if config.meta_gradient == "fomaml":
            _accumulate(gradient, reference.gradient(theta, phase, config.inner_steps))
    return Task(theta, gradient, losses)


def solvers(theta: Theta, episode: Episode, stages: Stages, config: Config) -> dict[str, str]:
    """Which solver takes the steps of each stage."""
    episode = _ready(theta, episode, config)
    found = {}
    for stage in stages:
        phase = stage.make(episode, config)
        optimizer = optimizer_of(config, stage.rate(config))
        found[stage.name] = "ordinary" if stage.ordinary else _solver(phase, optimizer, config)
    return found


def _solver(phase: Phase, optimizer: Optimizer, config: Config) -> str:
    return solver_of(phase, optimizer) if config.solver == "auto" else config.solver


def meta_iteration(
    theta: Theta,
    state: Theta,
    episodes: Sequence[Episode],
    stages: Stages,
    config: Config,
    i: int = 0,
    each: Each = map,
    together: Together | None = None,
) -> list[dict[str, float]]:
    """Ordinary stages, then adapt to each episode and take meta-update i.

    Moves theta and `state`, the meta-optimizer's. `each` maps a function over the episodes: an
    executor's map adapts to them side by side. Returns the losses of each task before its first
    steps. `together` makes means over processes that have other episodes; then the losses are
    one task's, their means.
    """
    plain = [_train(theta, state, e, stages, config, i * len(episodes) + j)
             for j, e in enumerate(episodes)]  # fmt: skip
    meta = [stage for stage in stages if not stage.ordinary]
    if not meta:
        return plain

    fomaml, total = config.meta_gradient == "fomaml", MeanInTurn(theta, len(episodes))

    def run(place: int) -> dict[str, float]:
        try:
            into = {name: scratch(f"{name} of a task", value) for name, value in theta.items()}
            task = adapt(theta, episodes[place], meta, config, into)
            total.add(place, task.gradient if fomaml else moved(theta, task.theta))
        except BaseException:
            total.fail()
            raise
        return task.losses

    try:
        tasks = each(run, range(len(episodes)))
        losses = [before | after for before, after in zip(plain, tasks, strict=True)]
    except BaseException:  # an interrupt between two tasks, too
        total.fail()
        raise
    found = total.mean()
    if together:
        mean_losses = {n: torch.tensor(fmean(one[n] for one in losses)) for n in losses[0]}
        found, means = _joined(together, found, mean_losses)
        losses = [{name: float(value) for name, value in means.items()}]
    kind = outer_of(config)
    (update if fomaml else toward)(theta, found, state, kind, kind.numbers(i, config.iterations))
    return losses


def _joined(together: Together, moves: Theta, losses: Mapping[str, Tensor]) -> tuple[Theta, Theta]:
    """Means over processes of where theta goes and of the losses, in one exchange."""
    found = together({**moves, **{f"{_LOSS}{name}": value for name, value in losses.items()}})
    means = {name: found.pop(f"{_LOSS}{name}") for name in losses}
    return found, means


def _train(
    theta: Theta, state: Theta, episode: Episode, stages: Stages, config: Config, j: int
) -> dict[str, float]:
    """The ordinary stages on task j: theta moves by Adam, as in any supervised training."""
    losses = {}
    episode = _ready(theta, episode, config) if _ordinary(stages) else episode
    for stage in _ordinary(stages):
        prefix = _own(stage)
        own = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        phase = stage.make(episode, config)
        adam = Outer("adam", stage.rate(config), config.meta_schedule)
        n_steps = config.iterations * config.meta_batch * config.inner_steps
        losses[f"{stage.name}_loss"] = float(reference.loss(theta, phase, 0))
        for t in range(config.inner_steps):
            numbers = adam.numbers(j * config.inner_steps + t, n_steps)
            update(theta, reference.gradient(theta, phase, t), own, adam, numbers)
    return losses


def _ready(theta: Theta, episode: Episode, config: Config) -> Episode:
    """With hard negatives in place of the candidates, where a task has some."""
    if not config.hard or not episode.source.numel():
        return episode
    return replace(episode, target=mined(theta, episode, config))


def _own(stage: Stage) -> str:
    """Prefix of the names of a stage's own Adam state."""
    return f"{_ORDINARY}{stage.name}."


def _ordinary(stages: Stages) -> list[Stage]:
    return [stage for stage in stages if stage.ordinary]


def adapt_all(
    theta: Theta, episode: Episode, stages: Stages, config: Config
) -> tuple[Theta, Theta, dict[str, Tensor]]:
    """`adapt` to T tasks at once, whose rows lead with a dimension of tasks; waits for no device.

    Returns where what learned ended (T, ...), FOMAML's gradient (T, ...), and the losses (T,).
    """
    n_tasks = len(episode.source)
    theta = {name: value.expand(n_tasks, *value.shape) for name, value in theta.items()}
    episode = _ready(theta, episode, config)
    ends: Theta = {}
    gradient: Theta = {}
    losses = {}
    for stage in stages:
        phase = stage.make(episode, config)
        moved, found = batched.descend_all(
            {**theta, **ends}, phase, config.inner_steps, optimizer_of(config, stage.rate(config))
        )
        ends |= moved
        losses[f"{stage.name}_loss"] = found[0]
        if config.meta_gradient == "fomaml":
            held = {n: v for n, v in {**theta, **ends}.items() if n not in moved}
            found_all, _ = batched.gradient_all(moved, held, phase, config.inner_steps)
            _accumulate(gradient, found_all)
    return ends, gradient, losses


def meta_step(
    theta: Theta,
    state: Theta,
    episode: Episode,
    stages: Stages,
    config: Config,
    numbers: Numbers,
    together: Together | None = None,
) -> dict[str, Tensor]:
    """One meta-iteration over T stacked tasks, in place, without waiting; returns losses (T,).

    together: as in `meta_iteration`; then the losses are their means, (1,).
    """
    ends, gradient, losses = adapt_all(theta, episode, stages, config)
    fomaml = config.meta_gradient == "fomaml"
    found = {name: value.mean(0) for name, value in (gradient if fomaml else ends).items()}
    if together:
        found, losses = _joined(together, found, {n: v.mean(0, True) for n, v in losses.items()})
    (update if fomaml else toward)(theta, found, state, outer_of(config), numbers)
    return losses


def _accumulate(total: Theta, more: Theta) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def outer_of(config: Config) -> Outer:
    """The configured meta-optimizer."""
    return Outer(
        config.meta_optimizer, config.meta_step, config.meta_schedule, config.meta_momentum
    )
