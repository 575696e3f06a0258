"""The reference solver: plain PyTorch, autograd, any loss, any precision."""

import torch

from xmg.engine.inner.phase import Optimizer, Phase, Theta


def descend(theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer) -> list[float]:
    """Take n_steps on the phase's loss, in place. Returns the loss before each step."""
    names = (*phase.rows, *phase.dense)
    leaves = {name: theta[name].detach().requires_grad_() for name in names}  # of the same memory
    stepper = _stepper(list(leaves.values()), optimizer)
    losses = []
    for _ in range(n_steps):
        projected = {name: rows @ leaves[name] for name, rows in phase.rows.items()}
        value = phase.loss({**leaves, **projected})
        stepper.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        stepper.step()
        losses.append(float(value.detach()))
    return losses


def _stepper(leaves: list[torch.Tensor], optimizer: Optimizer) -> torch.optim.Optimizer:
    if optimizer.kind == "adam":
        return torch.optim.Adam(leaves, lr=optimizer.rate, fused=True)
    return torch.optim.SGD(
        leaves,
        lr=optimizer.rate,
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
    )
