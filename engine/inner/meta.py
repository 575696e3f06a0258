"""The first-order meta-update."""

import torch

from xmg.engine.inner.phase import Theta


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
