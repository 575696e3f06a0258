"""All steps of a phase on first layers under way, by the kernels of the solver that holds them."""

from collections.abc import Mapping
from types import ModuleType

import torch
from torch import Tensor

from xmg.engine.inner.phase import Phase, is_fused
from xmg.engine.kernels.descend import Layer, Steps, dense_step
from xmg.engine.kernels.span import Span
from xmg.engine.kernels.sweep import Array
from xmg.engine.model.heads import Linear, Theta


def take(
    kernels: ModuleType,
    theta: Theta,
    phase: Phase,
    layers: Mapping[str, Layer] | Mapping[str, Span],
    steps: Steps,
) -> tuple[Theta, list[float]]:
    """Take all steps. Returns what learns beside the first layers, and the loss before each step.

    Heads that are nothing but a first layer are one call. Else autograd gives the gradients of
    what follows, step by step, between the kernels' `project` and `step`.
    """
    rest = {n: theta[n].detach().clone(memory_format=torch.contiguous_format) for n in phase.rest}
    plain = all(head == Linear() for head in phase.heads.values())
    if plain and is_fused(phase.objective):
        return rest, phase.objective.descend(kernels, layers, rest, steps)
    z = {name: torch.from_numpy(layer.z) for name, layer in layers.items()}
    moments = {n: (torch.empty_like(v), torch.empty_like(v)) for n, v in rest.items()}
    losses = []
    for layer in layers.values():
        kernels.begin(layer)
    for t in range(len(steps.constants)):
        for layer in layers.values():
            kernels.project(layer, t)
        value, found = _gradients(phase, {**theta, **rest}, z, t)
        for name, layer in layers.items():
            torch.from_numpy(layer.d).copy_(found[name])
            kernels.step(layer, steps, t)
        for name, w in rest.items():
            dense_step(steps, t, *map(_flat, (w, found[name], *moments[name])))
        losses.append(value)
    for layer in layers.values():
        kernels.end(layer)
    return rest, losses


def _gradients(phase: Phase, theta: Mapping[str, Tensor], z: Theta, t: int) -> tuple[float, Theta]:
    """The loss of step t, with its gradients by z and by all that learns beside the first layers.

    z: by head, the first layer's output (m, h) for the rows of this step.
    """
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


def _flat(x: Tensor) -> Array:
    """The numbers of a parameter, shared where it is contiguous."""
    numbers: Array = x.reshape(-1).numpy()
    return numbers
