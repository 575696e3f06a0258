"""The direct solver: Adam or SGD on the weights themselves, each weight passed once a step.

A first layer W (d, h) that projects rows X (m, d) has the gradient X^T D, with D the gradient by
the projections X W. Forming it, stepping and projecting the next step's rows are one sweep.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.scratch import scratch
from xmg.engine.inner.tail import gradients
from xmg.engine.kernels import sweep
from xmg.engine.kernels.tile import ROWS


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does."""
    layers = {
        name: _Layer(phase, name, theta[name].contiguous(), optimizer, n_steps, into.get(name))
        for name in phase.heads
    }
    rest = {name: _Dense(theta[name], optimizer) for name in phase.rest}
    z = {name: phase.read(name, 0) @ theta[name] for name in phase.heads}
    losses = []
    for t in range(n_steps):
        now = {**theta, **{name: part.value for name, part in rest.items()}}
        value, found = gradients(phase, now, z, t)
        z = {name: layer.step(found[name], t) for name, layer in layers.items()}
        for name, part in rest.items():
            part.step(found[name], t)
        losses.append(value)
    moved = {name: layer.out for name, layer in layers.items()}
    return {**theta, **moved, **{name: part.value for name, part in rest.items()}}, losses


class _Layer:
    """A first layer under way: panels of weights and moments, and the rows of two steps."""

    def __init__(
        self,
        phase: Phase,
        name: str,
        start: Tensor,
        optimizer: Optimizer,
        n_steps: int,
        into: Tensor | None,
    ) -> None:
        self.name, self.optimizer, self.n_steps = name, optimizer, n_steps
        self.rows, self.picks = phase.rows[name], phase.picks.get(name)
        self.out = torch.empty_like(start) if into is None else into
        size = (sweep.panel_size(*start.shape),)
        self.panels = [scratch(f"panels {i} of {name}", start, size).numpy() for i in range(3)]
        self.start, self.ends = start.numpy(), self.out.numpy()
        self.packed = self._pack(0)

    def step(self, gradient: Tensor, t: int) -> Tensor:
        """Take step t from the gradient by its projections; returns those of the next step."""
        last = t + 1 == self.n_steps
        following = self.packed if last else self._pack(t + 1)
        n_next = len(self.rows) if self.picks is None else self.picks.shape[1]
        z = gradient if last else gradient.new_empty(n_next, gradient.shape[1])
        w, m, v = self.panels
        kind, constants = _constants(self.optimizer, t, w.dtype)
        sweep.sweep(
            self.start, w, m, v, self.packed, gradient.contiguous().numpy(), following, kind,
            constants, t == 0, last, z.numpy(), self.ends,
        )  # fmt: skip
        self.packed = following
        return z

    def _pack(self, t: int) -> sweep.Array:
        """The rows of step t, transposed and padded; unchanged where all steps read all rows."""
        if self.picks is None and t:
            return self.packed
        picks = torch.arange(len(self.rows)) if self.picks is None else self.picks[t]
        shape = sweep.padded(self.rows.shape[1], sweep.BLOCK), sweep.padded(len(picks), ROWS)
        packed: sweep.Array = scratch(f"rows {t % 2} of {self.name}", self.rows, shape).numpy()
        sweep.pack_rows(self.rows.numpy(), picks.numpy(), packed)
        return packed


class _Dense:
    """Any other parameter."""

    def __init__(self, value: Tensor, optimizer: Optimizer) -> None:
        self.value = value.detach().clone(memory_format=torch.contiguous_format)
        self.optimizer, self.flat = optimizer, self.value.view(-1).numpy()
        self.moments = np.empty_like(self.flat), np.empty_like(self.flat)

    def step(self, gradient: Tensor, t: int) -> None:
        g, (m, v) = gradient.reshape(-1).numpy(), self.moments
        kind, constants = _constants(self.optimizer, t, self.flat.dtype)
        if kind == sweep.ADAM:
            sweep.adam_step(self.flat, g, m, v, constants, t == 0)
        else:
            sweep.sgd_step(self.flat, g, m, constants, t == 0)


@cache
def _constants(
    optimizer: Optimizer, t: int, dtype: np.dtype[np.floating]
) -> tuple[int, sweep.Array]:
    """What step t = 0, 1, ... multiplies by, in the precision of the weights."""
    if optimizer.kind == "sgd":
        numbers = [optimizer.momentum, optimizer.weight_decay, optimizer.rate]
        return sweep.SGD, np.array(numbers, dtype)
    b1, b2, n = 0.9, 0.999, t + 1
    size, scale = optimizer.rate / (1 - b1**n), (1 - b2**n) ** -0.5
    return sweep.ADAM, np.array([b1, 1 - b1, b2, 1 - b2, size, scale, 1e-8], dtype)
