"""The direct solver: Adam or SGD on the weights themselves, each weight passed once a step.

A first layer W (d, h) that projects rows X (m, d) has the gradient X^T D, with D the gradient by
the projections X W. Forming it, stepping and projecting the next step's rows are one sweep. Where
heads are nothing but a first layer, all steps are one call that holds up no other thread.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.inner.phase import BETAS, TINY, Optimizer, Phase
from xmg.engine.inner.scratch import scratch
from xmg.engine.inner.tail import take
from xmg.engine.kernels import descend as kernels
from xmg.engine.kernels import sweep
from xmg.engine.kernels.descend import Layer, Steps
from xmg.engine.kernels.tile import COLUMNS, ROWS


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does."""
    outs = {n: torch.empty_like(theta[n]) if n not in into else into[n] for n in phase.heads}
    layers = {n: _layer(phase, n, theta[n].contiguous(), n_steps, outs[n]) for n in phase.heads}
    steps = steps_of(optimizer, n_steps, next(iter(layers.values())).w.dtype)
    rest, losses = take(kernels, theta, phase, layers, steps)
    return {**theta, **outs, **rest}, losses


def _layer(phase: Phase, name: str, start: Tensor, n_steps: int, out: Tensor) -> Layer:
    """A head's first layer, over memory that this thread keeps."""
    rows, picks = phase.rows[name].contiguous(), phase.picks.get(name)
    fixed = picks is None
    picks = torch.arange(len(rows))[None] if picks is None else picks[:n_steps].contiguous()
    shape = sweep.padded(rows.shape[1], sweep.BLOCK), sweep.padded(picks.shape[1], ROWS)
    packed = scratch(f"rows of {name}", rows, (2, *shape))
    size = (sweep.panel_size(*start.shape),)
    w, m, v = (scratch(f"panels {i} of {name}", start, size).numpy() for i in range(3))
    rows_of = picks.shape[1], start.shape[1]
    z, unit, d = (scratch(f"{use} of {name}", start, rows_of).numpy() for use in ("z", "unit", "d"))
    size = (shape[1] * sweep.padded(start.shape[1], COLUMNS),)
    z_panels, d_panels = (scratch(f"{use} panels of {name}", start, size).numpy() for use in "zd")
    return Layer(
        start.numpy(), w, m, v, rows.numpy(), picks.numpy(), fixed, packed.numpy(), out.numpy(),
        z, unit, d, z_panels, d_panels,
    )  # fmt: skip


@cache
def steps_of(optimizer: Optimizer, n_steps: int, dtype: np.dtype[np.floating]) -> Steps:
    """What each step multiplies by, in the precision of the weights."""
    if optimizer.kind == "sgd":
        numbers = [(optimizer.momentum, optimizer.weight_decay, optimizer.rate)] * n_steps
        return Steps(sweep.SGD, np.array(numbers, dtype))
    b1, b2 = BETAS
    constants = [
        (b1, 1 - b1, b2, 1 - b2, *optimizer.corrected(t), TINY) for t in range(1, n_steps + 1)
    ]
    return Steps(sweep.ADAM, np.array(constants, dtype))
