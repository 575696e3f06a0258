"""Batches of tasks on one device: meta-iterations captured as a graph."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import torch
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner.meta import clone
from xmg.engine.model.heads import Theta
from xmg.engine.training.meta_learn import Stages, Together, meta_step, outer_of

_WARM_UP = 3  # runs before a capture, as CUDA graphs want


class Stepper:
    """`meta_step` over memory that stays: on CUDA one graph, elsewhere the same function."""

    def __init__(
        self,
        theta: Theta,
        outer: Theta,
        first: Episode,
        stages: Stages,
        config: Config,
        together: Together | None = None,
    ) -> None:
        self.theta, self.outer, self.stages, self.config = theta, outer, stages, config
        self.together = together
        self.episode = first  # memory that later episodes are copied to
        self.numbers = torch.zeros(3, device=first.source.device)
        self.run = captured(self._step, {**theta, **{f"outer.{n}": v for n, v in outer.items()}})

    def step(self, episode: Episode, i: int) -> list[dict[str, float]]:
        """Take meta-iteration i; returns the losses of each task."""
        for kept, new in zip(_tensors(self.episode), _tensors(episode), strict=True):
            kept.copy_(new, non_blocking=True)
        numbers = outer_of(self.config).numbers(i, self.config.iterations)
        self.numbers.copy_(torch.tensor(numbers))
        found = {name: value.tolist() for name, value in self.run().items()}
        return [dict(zip(found, each, strict=True)) for each in zip(*found.values(), strict=True)]

    def _step(self) -> dict[str, Tensor]:
        return meta_step(
            self.theta,
            self.outer,
            self.episode,
            self.stages,
            self.config,
            self.numbers,
            self.together,
        )


def captured(
    step: Callable[[], Mapping[str, Tensor]], changed: Theta
) -> Callable[[], Mapping[str, Tensor]]:
    """A step as one CUDA graph; where `changed`, what it moves, is not on CUDA, the step itself.

    The step runs a few times first, and what it moved is put back.
    """
    device = next(iter(changed.values())).device
    if device.type != "cuda":
        return step
    before = clone(changed)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = step()
    for name, value in before.items():
        changed[name].copy_(value)

    def replay() -> Mapping[str, Tensor]:
        graph.replay()
        return found

    return replay


def _tensors(episode: Episode) -> list[Tensor]:
    found = [getattr(episode, field.name) for field in fields(episode)]
    return [value for value in found if isinstance(value, Tensor)]
