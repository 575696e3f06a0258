"""The span solver: SGD on first layers at the price of the task's rows, not of the weights.

A gradient of a weight W (d, h) that projects rows X (n, d) is X^T D, with D the gradient by the
projections Z = X W. So W never leaves c W_0 + X^T A, and it is c and A (n, h) that are stepped:

    Z = c Z_0 + K A,    K = X X^T,    Z_0 = X W_0,
    B <- mu B + D + lambda A,    beta <- mu beta + lambda c,
    A <- A - rate B,             c <- c - rate beta,

with mu the momentum and lambda the weight decay: exact, as both are linear in W. A step that reads
some of the rows takes those of Z and adds to those of B. Adam divides each element by its own
scale and leaves the span, so it is not for this solver.
"""

import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.direct import steps_of
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.scratch import scratch
from xmg.engine.inner.tail import take
from xmg.engine.kernels import span as kernels
from xmg.engine.kernels.span import Span


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does, by SGD."""
    layers = {name: _span(phase, name, theta[name], n_steps) for name in phase.heads}
    steps = steps_of(optimizer, n_steps, next(iter(layers.values())).a.dtype)
    rest, losses = take(kernels, theta, phase, layers, steps)
    moved = {
        name: _weight(layer, phase.rows[name], theta[name], into.get(name))
        for name, layer in layers.items()
    }
    return {**theta, **moved, **rest}, losses


def _span(phase: Phase, name: str, weight: Tensor, n_steps: int) -> Span:
    """A head's first layer before its first step, over memory that this thread keeps."""
    rows, picks = phase.rows[name], phase.picks.get(name)
    n, width, fixed = len(rows), weight.shape[1], picks is None
    picks = torch.arange(n)[None] if picks is None else picks[:n_steps].contiguous()

    def kept(use: str, *shape: int) -> Tensor:
        return scratch(f"span's {use} of {name}", weight, shape)

    gram = torch.mm(rows, rows.T, out=kept("gram", n, n))
    start = torch.mm(rows, weight, out=kept("start", n, width))
    a, b = (kept(use, n, width).zero_().numpy() for use in "ab")
    z, unit, d = (kept(use, picks.shape[1], width).numpy() for use in ("z", "unit", "d"))
    scales, moved = weight.new_tensor([1.0, 0.0]), torch.zeros(n, dtype=torch.bool)
    return Span(
        gram.numpy(), start.numpy(), picks.numpy(), fixed, a, b, scales.numpy(), moved.numpy(),
        z, unit, d,
    )  # fmt: skip


def _weight(layer: Span, rows: Tensor, start: Tensor, into: Tensor | None) -> Tensor:
    """c W_0 + X^T A."""
    a, c = torch.from_numpy(layer.a), float(layer.scales[0])
    if into is start:
        return into.addmm_(rows.T, a, beta=c)
    return torch.addmm(start, rows.T, a, beta=c, out=into)
