"""The span solver: SGD on first layers at the price of the task's rows, not of the weights.

A gradient of a weight W (d, h) that projects rows X (n, d) is X^T D, with D the gradient by the
projections Z = X W. So W never leaves c W_0 + X^T A, and it is c and A (n, h) that are stepped:

    Z = c Z_0 + K A,    K = X X^T,    Z_0 = X W_0,
    B <- mu B + D + lambda A,    beta <- mu beta + lambda c,
    A <- A - rate B,             c <- c - rate beta,

with mu the momentum and lambda the weight decay: exact, as both are linear in W. A step that reads
some of the rows takes those of Z and adds to those of B. Adam divides each element by its own
scale and leaves the span, so it is not for this solver.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.tail import gradients


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does, by SGD."""
    layers = {name: _Layer.at(phase, name, theta[name]) for name in phase.heads}
    rest = {name: _Dense(theta[name], torch.zeros_like(theta[name])) for name in phase.rest}
    losses = []
    for t in range(n_steps):
        z = {name: layer.project(t) for name, layer in layers.items()}
        now = {**theta, **{name: part.value for name, part in rest.items()}}
        value, found = gradients(phase, now, z, t)
        for name, layer in layers.items():
            layer.step(found[name], t, optimizer)
        for name, part in rest.items():
            part.step(found[name], optimizer)
        losses.append(value)
    moved = {name: layer.weight(theta[name], into.get(name)) for name, layer in layers.items()}
    return {**theta, **moved, **{name: part.value for name, part in rest.items()}}, losses


@dataclass(slots=True)
class _Layer:
    """A first layer as c W_0 + X^T A, seen through the rows X."""

    rows: Tensor  # X (n, d)
    picks: Tensor | None  # (T, m)
    gram: Tensor  # K (n, n)
    start: Tensor  # Z_0 (n, h)
    a: Tensor  # (n, h)
    b: Tensor | None  # (n, h), where the optimizer remembers or decays
    c: float = 1.0
    beta: float = 0.0

    @classmethod
    def at(cls, phase: Phase, name: str, weight: Tensor) -> "_Layer":
        rows = phase.rows[name]
        start = rows @ weight
        return cls(rows, phase.picks.get(name), rows @ rows.T, start, torch.zeros_like(start), None)

    def project(self, t: int) -> Tensor:
        """Z of the rows that step t reads."""
        if self.picks is None:
            return torch.addmm(self.start, self.gram, self.a, beta=self.c)
        picks = self.picks[t]
        return torch.addmm(self.start[picks], self.gram[picks], self.a, beta=self.c)

    def step(self, gradient: Tensor, t: int, optimizer: Optimizer) -> None:
        if not (optimizer.momentum or optimizer.weight_decay):
            self._add(self.a, gradient, t, -optimizer.rate)
            return
        self.b = torch.zeros_like(self.a) if self.b is None else self.b
        self.b.mul_(optimizer.momentum).add_(self.a, alpha=optimizer.weight_decay)
        self._add(self.b, gradient, t, 1.0)
        self.beta = optimizer.momentum * self.beta + optimizer.weight_decay * self.c
        self.a.sub_(self.b, alpha=optimizer.rate)
        self.c -= optimizer.rate * self.beta

    def _add(self, to: Tensor, gradient: Tensor, t: int, alpha: float) -> None:
        """Add to the rows that step t read; a row that it read twice moves twice."""
        if self.picks is None:
            to.add_(gradient, alpha=alpha)
        else:
            to.index_add_(0, self.picks[t], gradient, alpha=alpha)

    def weight(self, start: Tensor, into: Tensor | None) -> Tensor:
        if into is start:
            return into.addmm_(self.rows.T, self.a, beta=self.c)
        return torch.addmm(start, self.rows.T, self.a, beta=self.c, out=into)


@dataclass(slots=True)
class _Dense:
    """A parameter stepped as it is."""

    value: Tensor
    b: Tensor

    def step(self, gradient: Tensor, optimizer: Optimizer) -> None:
        decayed = gradient.add(self.value, alpha=optimizer.weight_decay)
        self.b.mul_(optimizer.momentum).add_(decayed)
        self.value = self.value.sub(self.b, alpha=optimizer.rate)
