"""The first-order meta-update: where theta goes, given where tasks went."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.phase import BETAS, TINY
from xmg.engine.inner.scratch import scratch

Numbers = tuple[float, float, float] | Tensor  # (3,), on the device of theta


@dataclass(frozen=True, slots=True)
class Outer:
    """The meta-optimizer. With g the meta-gradient and e the step size, at meta-update i of n:

    sgd        theta <- theta - e g
    momentum   b <- momentum b + g,  theta <- theta - e b
    adam       theta <- theta - e m / (sqrt(v) + 1e-8), moments corrected (arXiv:1412.6980)

    e is step, or step (1 - i / n), or step (1 + cos(pi i / n)) / 2.
    """

    kind: Literal["sgd", "momentum", "adam"]
    step: float
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    momentum: float = 0.9

    def numbers(self, i: int, n: int) -> tuple[float, float, float]:
        """What meta-update i of n, from 0, multiplies by: e, and adam's two corrections."""
        factor = {
            "constant": 1.0,
            "linear": 1 - i / n,
            "cosine": (1 + math.cos(math.pi * i / n)) / 2,
        }
        by_m, by_v = (1 / (1 - beta ** (i + 1)) for beta in BETAS)
        return self.step * factor[self.schedule], by_m, by_v

    def begin(self, theta: Theta) -> Theta:
        """State before the first update, by name: b., m. and v. of each parameter."""
        kinds = {"sgd": (), "momentum": ("b",), "adam": ("m", "v")}[self.kind]
        return {f"{k}.{n}": torch.zeros_like(v) for k in kinds for n, v in theta.items()}


def mean_end(theta: Theta, tasks: Sequence[Theta]) -> Theta:
    """Mean of theta_task over tasks, of the parameters that moved."""
    learned = [name for name, value in tasks[0].items() if value is not theta[name]]
    return mean([{name: task[name] for name in learned} for task in tasks])


@torch.no_grad()
def toward(theta: Theta, ends: Theta, state: Theta, outer: Outer, numbers: Numbers) -> None:
    """Reptile's meta-update, in place: the meta-gradient is theta - ends, their mean over tasks.

    Nichol, Achiam, Schulman, "On First-Order Meta-Learning Algorithms" (arXiv:1803.02999). By sgd
    of step epsilon: theta <- theta + epsilon (mean of theta_task - theta).
    """
    if outer.kind == "sgd":
        for name, end in ends.items():
            theta[name].lerp_(end, numbers[0])
        return
    away = {
        name: torch.sub(theta[name], end, out=scratch(f"meta-gradient of {name}", end))
        for name, end in ends.items()
    }
    update(theta, away, state, outer, numbers)


@torch.no_grad()
def update(theta: Theta, gradient: Theta, state: Theta, outer: Outer, numbers: Numbers) -> None:
    """Move theta and the optimizer's state in place by a meta-gradient."""
    size, by_m, by_v = numbers
    for name, g in gradient.items():
        if outer.kind == "sgd":
            theta[name].sub_(g * size)
        elif outer.kind == "momentum":
            theta[name].sub_(state[f"b.{name}"].mul_(outer.momentum).add_(g) * size)
        else:
            m = state[f"m.{name}"].lerp_(g, 1 - BETAS[0])
            v = state[f"v.{name}"].mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
            theta[name].sub_(m * (size * by_m) / ((v * by_v).sqrt_() + TINY))


@torch.no_grad()
def mean(tasks: Sequence[Theta]) -> Theta:
    """Mean over tasks, by name; summed in their order, whoever finished first."""
    first, *others = tasks
    if not others:
        return dict(first)
    total = {name: scratch(f"mean of {name}", value) for name, value in first.items()}
    for name, value in total.items():
        value.copy_(first[name])
        for task in others:
            value.add_(task[name])
        value.div_(len(tasks))
    return total


def clone(theta: Theta) -> Theta:
    """A copy that may move without the other."""
    return {name: value.detach().clone() for name, value in theta.items()}
