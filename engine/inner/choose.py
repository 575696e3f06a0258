"""Which solver takes the steps: the fastest that is exact for the phase."""

from collections.abc import Callable

from xmg.engine.inner import reference, span
from xmg.engine.inner.phase import Optimizer, Phase, Theta

Solver = Callable[[Theta, Phase, int, Optimizer], list[float]]


def solver_of(phase: Phase, optimizer: Optimizer) -> tuple[str, Solver]:
    """Its name and itself: span for SGD where every head has fewer rows than inputs."""
    few = all(rows.shape[0] < rows.shape[1] for rows in phase.rows.values())
    if optimizer.kind == "sgd" and few:
        return "span", span.descend
    return "reference", reference.descend


def descend(theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer) -> list[float]:
    """Take n_steps on the phase's loss, in place. Returns the loss before each step."""
    return solver_of(phase, optimizer)[1](theta, phase, n_steps, optimizer)
