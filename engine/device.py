"""Batches of tasks on one device: features held there, meta-iterations captured as a graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from xmg.cache import FeatureFile
from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.fetch import fetch
from xmg.engine.fronts import Fronts
from xmg.engine.heads import Theta
from xmg.engine.inner.meta import clone
from xmg.engine.inputs import Drawn, Episode, labels_of
from xmg.engine.meta_learn import Stages, Together, meta_step, outer_of
from xmg.engine.views import MetaTrain
from xmg.engine.whitening import Whitening

_BLOCK = 1 << 14  # rows whitened at a time
_SHARE = 0.5  # of the device's free memory, for features
_WARM_UP = 3  # runs before a capture, as CUDA graphs want


@dataclass(frozen=True, slots=True)
class Side:
    """One modality's whitened rows: all of the file on the device, or read when they are needed."""

    file: FeatureFile
    front: Whitening
    device: torch.device
    table: Tensor | None  # (N, d)

    @classmethod
    def on(cls, device: torch.device, file: FeatureFile, front: Whitening) -> "Side":
        """Hold the rows where they fit into half of the device's free memory."""
        side = cls(file, front, device, None)
        n_bytes = len(file) * front.offset.numel() * front.offset.itemsize
        if file.is_sequence or n_bytes > _SHARE * _free(device):
            return side
        table = torch.empty(len(file), front.offset.numel(), device=device)
        for i in range(0, len(file), _BLOCK):
            rows = np.arange(i, min(i + _BLOCK, len(file)))
            table[i : i + len(rows)] = side.read(rows)
        return replace(side, table=table)

    def read(self, rows: Rows) -> Tensor:
        """Whitened rows (..., d) on the device; those held are picked there."""
        if self.table is None:
            x = self.front(fetch(self.file, rows))
            if self.device.type == "cuda":
                x = x.pin_memory()
            return x.to(self.device, non_blocking=True)
        return self.table[torch.from_numpy(rows).to(self.device, non_blocking=True)]


def _free(device: torch.device) -> float:
    """Bytes that may still be taken; features in host memory are better read from their map."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


@dataclass(frozen=True, slots=True)
class Sides:
    """Both modalities, and tasks read from them."""

    source: Side
    target: Side

    @classmethod
    def on(cls, device: torch.device, train: MetaTrain, fronts: Fronts) -> "Sides":
        """As Side.on, the source first."""
        assert fronts.source
        source = Side.on(device, train.source.file, fronts.source)
        return cls(source, Side.on(device, train.target, fronts.target))

    def stacked(self, drawn: Sequence[Drawn], config: Config) -> Episode:
        """Episodes as one, its rows leading with a dimension of tasks."""
        device = self.source.device
        return Episode(
            self.source.read(np.stack([one.source for one in drawn])),
            self.target.read(np.stack([one.target for one in drawn])),
            self.source.read(np.stack([one.shots for one in drawn])),
            labels_of(config).to(device),
            drawn[0].n_sets,
            stacked=True,
            classes=torch.from_numpy(np.stack([one.classes for one in drawn])).to(device),
        )


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
