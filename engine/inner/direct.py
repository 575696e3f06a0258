"""The direct solver: Adam or SGD on the weights themselves, without autograd on first layers.

A first layer W (d, h) that projects rows X (m, d) has the gradient X^T D, with D the gradient by
the projections X W. A step of Adam then reads and writes weights and moments once, and the first
writes a new copy of the weights on its way.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.scratch import scratch
from xmg.engine.inner.tail import gradients
from xmg.engine.kernels import adam


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does."""
    kind = _Adam if optimizer.kind == "adam" else _SGD
    learned = (*phase.heads, *phase.rest)
    parts = {name: kind(name, theta[name], optimizer, into.get(name)) for name in learned}
    losses = []
    for t in range(n_steps):
        now = {**theta, **{name: part.w for name, part in parts.items()}}
        x = {name: _read(phase, name, t) for name in phase.heads}
        value, found = gradients(phase, now, {name: x[name] @ now[name] for name in x}, t)
        for name, part in parts.items():
            part.step(_product(name, x[name].T, found[name]) if name in x else found[name])
        losses.append(value)
    return {**theta, **{name: part.w for name, part in parts.items()}}, losses


@dataclass(slots=True)
class _Adam:
    """A parameter with its moments."""

    name: str
    w: Tensor  # the caller's until the first step
    optimizer: Optimizer
    into: Tensor | None  # what the first step writes to
    t: int = 0
    m: Tensor = field(default_factory=lambda: torch.empty(0))
    v: Tensor = field(default_factory=lambda: torch.empty(0))

    def step(self, gradient: Tensor) -> None:
        self.t += 1
        g = gradient.contiguous().view(-1).numpy()
        constants = adam.constants(self.optimizer.rate, self.t, g.dtype)
        if self.t > 1:
            adam.later(_flat(self.w), g, _flat(self.m), _flat(self.v), constants)
            return
        start = self.w.contiguous()
        self.w = torch.empty_like(start) if self.into is None else self.into
        self.m, self.v = (scratch(f"{part} of {self.name}", start) for part in "mv")
        adam.first(_flat(start), g, _flat(self.w), _flat(self.m), _flat(self.v), constants)


@dataclass(slots=True)
class _SGD:
    """A parameter with its momentum."""

    name: str
    w: Tensor  # the caller's until the first step
    optimizer: Optimizer
    into: Tensor | None  # what the first step writes to
    b: Tensor | None = None

    def step(self, gradient: Tensor) -> None:
        decayed = gradient.add_(self.w, alpha=self.optimizer.weight_decay)
        if self.b is None:
            self.b = scratch(f"momentum of {self.name}", self.w).copy_(decayed)
            self.into = torch.empty_like(self.w) if self.into is None else self.into
        else:
            self.b.mul_(self.optimizer.momentum).add_(decayed)
        self.w = torch.sub(self.w, self.b, alpha=self.optimizer.rate, out=self.into)


def _read(phase: Phase, name: str, t: int) -> Tensor:
    """As phase.read, into memory that each step of a thread uses again."""
    rows, picks = phase.rows[name], phase.picks.get(name)
    if picks is None:
        return rows
    kept = scratch(f"rows of {name}", rows, (picks.shape[1], *rows.shape[1:]))
    return torch.index_select(rows, 0, picks[t], out=kept)


def _product(name: str, x: Tensor, d: Tensor) -> Tensor:
    return torch.mm(x, d, out=scratch(f"gradient of {name}", d, (x.shape[0], d.shape[1])))


def _flat(x: Tensor) -> adam.Array:
    flat: adam.Array = x.view(-1).numpy()
    return flat
