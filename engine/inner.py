"""The two motions of meta-learning: steps on one task, and the first-order meta-update."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Theta = dict[str, Tensor]  # named parameters


def descend(
    parameters: Iterable[Tensor], loss: Callable[[], Tensor], n_steps: int, rate: float
) -> list[float]:
    """Take n_steps Adam steps on `loss`, in place, from fresh optimizer state.

    Returns the loss before each step.
    """
    leaves = [p.requires_grad_() for p in parameters]
    optimizer = torch.optim.Adam(leaves, lr=rate)
    losses = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(value.detach()))
    return losses


def clone(theta: Theta) -> Theta:
    """Copy the meta-parameters to start a task from."""
    return {name: value.detach().clone() for name, value in theta.items()}


@torch.no_grad()
def reptile(theta: Theta, task: Theta, epsilon: float) -> None:
    """theta <- theta + epsilon (theta_task - theta), in place.

    Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms" (arXiv:1803.02999).
    """
    for name in theta:
        theta[name].lerp_(task[name], epsilon)
