"""The reference solver: plain PyTorch, autograd, any head, any loss, any precision."""

import torch
from torch import Tensor

from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.model.heads import Theta, project


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss. Returns all parameters, those that learn moved, and the
    loss before each step. Nothing of the given theta changes; `into` is memory, by name, that
    what learned may be written to."""
    leaves = {name: theta[name].detach().clone().requires_grad_() for name in learned(phase)}
    stepper = _stepper(list(leaves.values()), optimizer)
    losses = []
    for t in range(n_steps):
        value = loss({**theta, **leaves}, phase, t)
        stepper.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        losses.append(float(value.detach()))
    return {**theta, **{name: leaf.detach() for name, leaf in leaves.items()}}, losses


def learned(phase: Phase) -> tuple[str, ...]:
    """Names of all parameters that learn."""
    return (*phase.heads, *phase.rest)


def loss(theta: Theta, phase: Phase, t: int) -> Tensor:
    """The loss of step t at theta, to be differentiated."""
    y = {name: project(h, theta, name, phase.read(name, t)) for name, h in phase.heads.items()}
    return phase.objective.loss({**theta, **y}, t)


def gradient(theta: Theta, phase: Phase, t: int) -> Theta:
    """The gradient of step t's loss at theta, by all that learns."""
    leaves = {name: theta[name].detach().requires_grad_() for name in learned(phase)}
    found = torch.autograd.grad(loss({**theta, **leaves}, phase, t), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def _stepper(leaves: list[Tensor], optimizer: Optimizer) -> torch.optim.Optimizer:
    if optimizer.kind == "adam":
        return torch.optim.Adam(leaves, lr=optimizer.rate, fused=True)
    return torch.optim.SGD(
        leaves,
        lr=optimizer.rate,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
    )
