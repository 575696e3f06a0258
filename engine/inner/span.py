"""The span solver: SGD on linear heads at the price of the episode's rows, not of the heads.

A gradient of a head W (d, w) that projects n rows X is X^T D, with D the gradient by the
projections Z = X W. So W never leaves c W_0 + X^T A, and it is c and A (n, w) that are stepped:

    Z = c Z_0 + K A,    K = X X^T,    Z_0 = X W_0,
    B <- mu B + D + lambda A,    beta <- mu beta + lambda c,
    A <- A - rate B,             c <- c - rate beta,

with mu the momentum and lambda the weight decay: exact, as both are linear in W. Adam divides each
element by its own scale and leaves the span, so it is not for this solver.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from xmg.engine.inner.phase import Optimizer, Phase, Theta


def descend(theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer) -> list[float]:
    """Take n_steps on the phase's loss, in place, as `reference.descend` does, by SGD."""
    heads = {name: _Head.at(rows, theta[name]) for name, rows in phase.rows.items()}
    dense = {name: _Dense(theta[name], torch.zeros_like(theta[name])) for name in phase.dense}
    parts: dict[str, _Head | _Dense] = {**heads, **dense}
    losses = []
    for _ in range(n_steps):
        leaves = {name: part.leaf() for name, part in parts.items()}
        value = phase.loss({**theta, **leaves})
        gradients = torch.autograd.grad(value, list(leaves.values()))
        for part, gradient in zip(parts.values(), gradients, strict=True):
            part.step(gradient, optimizer)
        losses.append(float(value.detach()))
    for name, head in heads.items():
        theta[name] = head.weight(theta[name], phase.rows[name])
    theta.update({name: part.value for name, part in dense.items()})
    return losses


@dataclass(slots=True)
class _Head:
    """A head as c W_0 + X^T A, seen through the rows X."""

    gram: Tensor  # K (n, n)
    start: Tensor  # Z_0 (n, w)
    a: Tensor  # (n, w)
    b: Tensor  # (n, w)
    c: float = 1.0
    beta: float = 0.0

    @classmethod
    def at(cls, rows: Tensor, weight: Tensor) -> "_Head":
        start = rows @ weight
        return cls(rows @ rows.T, start, torch.zeros_like(start), torch.zeros_like(start))

    def leaf(self) -> Tensor:
        """Z, to be differentiated by."""
        return torch.addmm(self.start, self.gram, self.a, beta=self.c).requires_grad_()

    def step(self, gradient: Tensor, optimizer: Optimizer) -> None:
        self.b.mul_(optimizer.momentum).add_(gradient).add_(self.a, alpha=optimizer.weight_decay)
        self.beta = optimizer.momentum * self.beta + optimizer.weight_decay * self.c
        self.a.sub_(self.b, alpha=optimizer.rate)
        self.c -= optimizer.rate * self.beta

    def weight(self, start: Tensor, rows: Tensor) -> Tensor:
        return torch.addmm(start, rows.T, self.a, beta=self.c)


@dataclass(slots=True)
class _Dense:
    """A parameter stepped as it is."""

    value: Tensor
    b: Tensor

    def leaf(self) -> Tensor:
        return self.value.detach().requires_grad_()

    def step(self, gradient: Tensor, optimizer: Optimizer) -> None:
        decayed = gradient.add(self.value, alpha=optimizer.weight_decay)
        self.b.mul_(optimizer.momentum).add_(decayed)
        self.value = self.value.sub(self.b, alpha=optimizer.rate)
