"""Gradients of a loss by the first layers' projections: all that a solver of those needs."""

from collections.abc import Mapping

import torch
from torch import Tensor

from xmg.engine.heads import Linear, Theta
from xmg.engine.inner.phase import Phase


def gradients(phase: Phase, theta: Mapping[str, Tensor], z: Theta, t: int) -> tuple[float, Theta]:
    """The loss of step t, with its gradients by z and by all that learns beside the first layers.

    z: by head, the first layer's output (m, h) for the rows of this step. Heads that are nothing
    but a first layer need no autograd.
    """
    if all(head == Linear() for head in phase.heads.values()):
        return phase.objective.gradient({**theta, **z}, t)
    leaves = {name: value.detach().requires_grad_() for name, value in z.items()}
    leaves |= {name: theta[name].detach().requires_grad_() for name in phase.rest}
    held = {**theta, **{name: leaves[name] for name in phase.rest}}
    y = {
        name: head.tail(held, name, leaves[name], phase.read(name, t))
        for name, head in phase.heads.items()
    }
    value = phase.objective.loss({**held, **y}, t)
    found = torch.autograd.grad(value, list(leaves.values()))
    return float(value.detach()), dict(zip(leaves, found, strict=True))
