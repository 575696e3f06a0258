"""The first-order meta-update: where theta goes, given where tasks went."""

import math
from dataclasses import dataclass
from threading import Condition, Lock
from typing import Final, Literal

import torch
from torch import Tensor

from xmg.engine.inner.phase import BETAS, TINY
from xmg.engine.inner.scratch import scratch
from xmg.engine.model.heads import Theta

_N_SUMS: Final = 2  # of tasks' shares, each in a fixed order
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


class MeanInTurn:
    """The mean of what tasks found, which may end on several threads.

    Tasks of even and of odd place have a sum each, and a task's share is added to its own when its
    turn comes: the mean is the same for any number of threads, two threads hardly wait for each
    other, and memory is that of one task a thread serves and of two for all. Tasks must be started
    in their order.
    """

    def __init__(self, theta: Theta, n_tasks: int) -> None:
        """theta: names and shapes of what tasks may find."""
        self._n_tasks, self._failed = n_tasks, False
        self._turns = list(range(_N_SUMS))  # whose share each sum takes next
        self._lock = Lock()
        self._changed = Condition(self._lock)
        n_sums = min(n_tasks, _N_SUMS) if n_tasks > 1 else 0
        self._memory = [
            {name: scratch(f"sum {i} of {name}", value) for name, value in theta.items()}
            for i in range(n_sums)
        ]
        self._sums: list[Theta] = [{} for _ in range(_N_SUMS)]

    @torch.no_grad()
    def add(self, place: int, found: Theta) -> None:
        """Wait for those before, and add the share of what task `place` found; with one task, keep
        that."""
        mine, share = place % _N_SUMS, 1 / self._n_tasks
        with self._lock:  # unlike the condition, nothing that an interrupt could leave half done
            self._changed.wait_for(lambda: self._turns[mine] == place or self._failed)
        if self._failed:
            return
        if self._n_tasks == 1:
            self._sums[mine] = found
        elif place == mine:
            self._sums[mine] = {
                name: torch.mul(value, share, out=self._memory[mine][name])
                for name, value in found.items()
            }
        else:
            for name, value in found.items():
                self._sums[mine][name].add_(value, alpha=share)
        with self._lock:
            self._turns[mine] += _N_SUMS
            self._changed.notify_all()

    def fail(self) -> None:
        """No task needs to wait any longer: one has failed, and there will be no mean."""
        with self._lock:
            self._failed = True
            self._changed.notify_all()

    @torch.no_grad()
    def mean(self) -> Theta:
        """By name, once all tasks have been added. Ask once: the sums become it."""
        total, *others = self._sums
        for other in others:
            for name, value in other.items():
                total[name].add_(value)
        return total


def moved(theta: Theta, end: Theta) -> Theta:
    """Of where a task ended, the parameters that learned."""
    return {name: value for name, value in end.items() if value is not theta[name]}


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


def clone(theta: Theta) -> Theta:
    """A copy that may move without the other."""
    return {name: value.detach().clone() for name, value in theta.items()}
