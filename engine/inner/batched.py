"""The batched solver: many tasks at once in plain PyTorch, any head, any loss, CPU or CUDA.

Parameters and rows lead with a dimension of tasks, and gradients are autograd's, mapped over it.
Nothing waits for the device, so that a whole meta-iteration can be captured as one CUDA graph.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from xmg.engine.inner.phase import BETAS, TINY, Optimizer, Phase
from xmg.engine.model.heads import Theta, project


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on one task's phase as `reference.descend` does."""
    rows = {name: value[None] for name, value in phase.rows.items()}
    alone = Phase(phase.heads, rows, phase.picks, phase.objective)
    ends, losses = descend_all({n: v[None] for n, v in theta.items()}, alone, n_steps, optimizer)
    return {**theta, **{name: value[0] for name, value in ends.items()}}, losses[:, 0].tolist()


def descend_all(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer
) -> tuple[Theta, Tensor]:
    """Take n_steps on T tasks of one shape: theta (T, ...) and rows (T, n, d) by name.

    Returns what learned, and the losses (n_steps, T) before each step.
    """
    names = (*phase.heads, *phase.rest)
    own = {name: theta[name] for name in names}
    held = {name: value for name, value in theta.items() if name not in own}
    state: dict[str, tuple[Tensor, Tensor]] = {}
    losses = []
    for t in range(n_steps):
        gradients, value = gradient_all(own, held, phase, t)
        for name, g in gradients.items():
            m, v = state.get(name) or (torch.zeros_like(g), torch.zeros_like(g))
            own[name], state[name] = _step(own[name], g, m, v, optimizer, t)
        losses.append(value)
    return own, torch.stack(losses)


def gradient_all(
    own: Theta, held: Mapping[str, Tensor], phase: Phase, t: int
) -> tuple[Theta, Tensor]:
    """Each task's gradients (T, ...) by its own parameters at step t, and its loss (T,)."""

    def loss(own: Theta, held: Theta, rows: Theta) -> Tensor:
        every = {**held, **own}
        y = {name: project(h, every, name, rows[name]) for name, h in phase.heads.items()}
        return phase.objective.loss({**every, **y}, t)

    rows = {name: _read(phase, name, t) for name in phase.heads}
    found: tuple[Theta, Tensor] = torch.func.vmap(torch.func.grad_and_value(loss))(
        own, dict(held), rows
    )
    return found


def _read(phase: Phase, name: str, t: int) -> Tensor:
    picks = phase.picks.get(name)
    return phase.rows[name] if picks is None else phase.rows[name][:, picks[t]]


def _step(
    w: Tensor, g: Tensor, m: Tensor, v: Tensor, optimizer: Optimizer, t: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Weights and moments after step t = 0, 1, ..."""
    if optimizer.kind == "sgd":
        m = optimizer.momentum * m + g + optimizer.weight_decay * w
        return w - optimizer.rate * m, (m, v)
    b1, b2 = BETAS
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    size, scale = optimizer.corrected(t + 1)
    return w - size * m / (v.sqrt() * scale + TINY), (m, v)
