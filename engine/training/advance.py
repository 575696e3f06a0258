"""Meta-iterations one after the other: task by task on threads, or batches of tasks on a device."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import NamedTuple, TypeVar

import torch

from xmg.cache import XmgError
from xmg.cache.ranks import Ranks
from xmg.engine.compute import one_thread_each
from xmg.engine.config import Config
from xmg.engine.data.inputs import Episode, draw_rows
from xmg.engine.data.sides import Sides
from xmg.engine.data.views import Trainable
from xmg.engine.model.heads import Theta
from xmg.engine.run import State
from xmg.engine.training.device import Stepper
from xmg.engine.training.meta_learn import Stages, meta_iteration, solvers
from xmg.engine.training.ranks import means

_AHEAD = 2  # meta-iterations prepared while one trains
T = TypeVar("T")


class Advance(NamedTuple):
    """What a meta-iteration left; theta and the meta-optimizer's state move on with the next."""

    i: int
    losses: Sequence[Mapping[str, float]]  # by task
    solvers: Mapping[str, str]  # by phase
    theta: Theta
    outer: Theta


@contextmanager
def advancing(
    view: Trainable, state: State, stages: Stages, config: Config, ranks: Ranks
) -> Iterator[Iterator[Advance]]:
    """Meta-iterations from where the state stands to the last; the state itself stays.

    Each of several processes takes its share of a meta-batch.
    """
    device = device_of(config)
    theta, outer = ({n: v.to(device, copy=True) for n, v in part.items()}
                    for part in (state.theta, state.outer))  # fmt: skip
    numbers = range(state.iteration, config.iterations)
    if not numbers:
        yield iter(())
        return
    sides = Sides.on(device, view, state.fronts)
    batched = config.solver == "batched" or device.type == "cuda"
    kind = _batches if batched else _one_by_one
    with closing(kind(view, sides, theta, outer, stages, config, numbers, ranks)) as found:
        yield found


def _one_by_one(
    view: Trainable,
    sides: Sides,
    theta: Theta,
    outer: Theta,
    stages: Stages,
    config: Config,
    numbers: range,
    ranks: Ranks,
) -> Generator[Advance, None, None]:
    """Meta-iterations whose tasks are adapted to one by one, or side by side."""

    def prepare(i: int) -> list[Episode]:
        drawn = (draw_rows(view, config, j) for j in ranks.share(_tasks_of(i, config)))
        return [sides.episode(one, config) for one in drawn]

    served: dict[str, str] = {}
    together = means if ranks.size > 1 else None
    with one_thread_each(config.meta_batch // ranks.size) as each:
        for i, tasks in _ahead(numbers, prepare):
            served = served or solvers(theta, tasks[0], stages, config)  # alike for all
            losses = meta_iteration(theta, outer, tasks, stages, config, i, each, together)
            yield Advance(i, losses, served, theta, outer)


def _batches(
    view: Trainable,
    sides: Sides,
    theta: Theta,
    outer: Theta,
    stages: Stages,
    config: Config,
    numbers: range,
    ranks: Ranks,
) -> Generator[Advance, None, None]:
    """The same by batches of meta_batch tasks, of CROMA's view: the config refuses others."""

    def prepare(i: int) -> Episode:
        drawn = [draw_rows(view, config, j) for j in ranks.share(_tasks_of(i, config))]
        return sides.stacked(drawn, config)

    stepper = None
    for i, episode in _ahead(numbers, prepare):
        stepper = stepper or Stepper(
            theta, outer, episode, stages, config, means if ranks.size > 1 else None
        )
        served = {stage.name: "batched" for stage in stages}
        yield Advance(i, stepper.step(episode, i), served, theta, outer)


def device_of(config: Config) -> torch.device:
    """The configured device; raises XmgError where it is not there."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise XmgError("there is no CUDA device here. fix: device = 'cpu' in --config")
    return torch.device(config.device)


def _tasks_of(i: int, config: Config) -> range:
    """Numbers of the tasks of meta-iteration i."""
    return range(i * config.meta_batch, (i + 1) * config.meta_batch)


def _ahead(numbers: range, prepare: Callable[[int], T]) -> Iterator[tuple[int, T]]:
    """Yield (i, prepare(i)), a thread preparing the next ones meanwhile."""
    with ThreadPoolExecutor(1, "xmg-prefetch") as pool:
        pending: deque[Future[T]] = deque()
        for i in numbers:
            for j in range(i + len(pending), min(i + _AHEAD + 1, numbers.stop)):
                pending.append(pool.submit(prepare, j))
            yield i, pending.popleft().result()
