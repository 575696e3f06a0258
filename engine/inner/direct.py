"""The direct solver: Adam or SGD on the weights themselves, each weight passed once a step.

A first layer W (d, h) that projects rows X (m, d) has the gradient X^T D, with D the gradient by
the projections X W. Forming it, stepping and projecting the next step's rows are one sweep. Where
heads are nothing but a first layer, all steps are one call that holds up no other thread.
"""

from functools import cache, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.engine.inner.phase import BETAS, TINY, Optimizer, Phase
from xmg.engine.inner.scratch import aligned, kept
from xmg.engine.inner.tail import take
from xmg.engine.kernels import descend as kernels
from xmg.engine.kernels import sweep
from xmg.engine.kernels.descend import Layer, Steps
from xmg.engine.kernels.product import Array, skewed
from xmg.engine.kernels.tile import ROWS, padded, whole
from xmg.engine.model.heads import Theta


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does."""
    outs = outputs(theta, phase, into)
    layers = {n: _layer(phase, n, theta[n], n_steps, outs[n]) for n in phase.heads}
    steps = steps_of(optimizer, n_steps, next(iter(layers.values())).w.dtype)
    rest, losses = take(kernels, theta, phase, layers, steps)
    for name, layer in layers.items():
        narrow(layer.w, outs[name].numpy())
    return {**theta, **outs, **rest}, losses


def _layer(phase: Phase, name: str, start: Tensor, n_steps: int, out: Tensor) -> Layer:
    """A head's first layer, over memory that this thread keeps: it has one phase under way."""
    rows, places = rows_of(phase, name, n_steps)
    begin = whole(np.ascontiguousarray(start.numpy()))
    key, n_read = (name, start.shape, begin.dtype), places.shape[1]
    sums, squares = kept(("moments", *key), lambda: aligned(begin.dtype, 2, *begin.shape))
    memory = kept(("direct", n_read, *key), lambda: _memory(start.shape[1], n_read, begin))
    return Layer(
        start=begin,
        w=widened(out.numpy(), begin),
        m=sums,
        v=squares,
        rows=rows,
        picks=places,
        fixed=name not in phase.picks,
        **memory,
    )


def _memory(width: int, m: int, like: Array) -> dict[str, Array]:
    """Memory for a layer of this width whose steps read m rows, its weights padded to `like`."""
    (deep, wide), high, empty = like.shape, padded(m, ROWS), partial(aligned, like.dtype)
    return {
        "packed": empty(2, deep, skewed(high)),
        "z": empty(m, width),
        "unit": empty(m, width),
        "d": empty(m, width),
        "z_wide": empty(high, skewed(wide)),
        "d_wide": empty(high, skewed(wide)),
    }


def rows_of(phase: Phase, name: str, n_steps: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """The rows (n, d) of a head, and those that each step reads, (T, m); T is 1 where all do."""
    rows, picks = np.ascontiguousarray(phase.rows[name].numpy()), phase.picks.get(name)
    if picks is None:
        return rows, np.arange(len(rows))[None]
    return rows, np.ascontiguousarray(picks.numpy()[:n_steps])


def outputs(theta: Theta, phase: Phase, into: Theta) -> Theta:
    """Where each head's first layer goes: `into`, or memory that is row-major, as kernels see it
    flat."""
    return {
        name: into[name]
        if name in into
        else torch.empty_like(theta[name], memory_format=torch.contiguous_format)
        for name in phase.heads
    }


def widened(out: Array, like: Array) -> Array:
    """Where weights padded to `like` can move: out itself, or memory for `narrow` to copy from."""
    return out if out.shape == like.shape else aligned(like.dtype, *like.shape)


def narrow(weights: Array, out: Array) -> None:
    """Copy weights that were padded to where they belong; others are there."""
    if weights.shape != out.shape:
        out[:] = weights[: len(out), : out.shape[1]]


@cache
def steps_of(optimizer: Optimizer, n_steps: int, dtype: np.dtype[np.floating]) -> Steps:
    """What each step multiplies by, in the precision of the weights."""
    if optimizer.kind == "sgd":
        numbers = [(optimizer.momentum, optimizer.weight_decay, optimizer.rate)] * n_steps
        return Steps(sweep.SGD, np.array(numbers, dtype))
    b1, b2 = BETAS
    corrected = [optimizer.corrected(t) for t in range(1, n_steps + 1)]
    constants = [
        (b1, b2, size * (1 - b1), scale * (1 - b2) ** 0.5, TINY) for size, scale in corrected
    ]
    return Steps(sweep.ADAM, np.array(constants, dtype))
