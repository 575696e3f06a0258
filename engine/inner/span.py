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

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from xmg.engine.inner.direct import narrow, outputs, rows_of, steps_of, widened
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inner.scratch import aligned, kept
from xmg.engine.inner.tail import take
from xmg.engine.kernels import span as kernels
from xmg.engine.kernels.product import Array, skewed
from xmg.engine.kernels.span import Span
from xmg.engine.kernels.tile import COLUMNS, ROWS, padded, whole
from xmg.engine.model.heads import Theta


def descend(
    theta: Theta, phase: Phase, n_steps: int, optimizer: Optimizer, into: Theta
) -> tuple[Theta, list[float]]:
    """Take n_steps on the phase's loss as `reference.descend` does, by SGD."""
    outs = outputs(theta, phase, into)
    layers = {n: _span(phase, n, theta[n], n_steps, outs[n]) for n in phase.heads}
    steps = steps_of(optimizer, n_steps, next(iter(layers.values())).a.dtype)
    rest, losses = take(kernels, theta, phase, layers, steps)
    for name, layer in layers.items():
        narrow(layer.out, outs[name].numpy())
    return {**theta, **outs, **rest}, losses


def _span(phase: Phase, name: str, start: Tensor, n_steps: int, out: Tensor) -> Span:
    """A head's first layer, over memory that this thread keeps."""
    rows, places = rows_of(phase, name, n_steps)
    begin = whole(np.ascontiguousarray(start.numpy()))
    key = (name, rows.shape, places.shape[1], start.shape[1], begin.dtype)
    memory = kept(
        ("span", *key), lambda: _memory(len(rows), places.shape[1], start.shape[1], begin)
    )
    return Span(
        weights=begin,
        out=widened(out.numpy(), begin),
        rows=rows,
        picks=places,
        fixed=name not in phase.picks,
        **memory,
    )


def _memory(n: int, m: int, width: int, like: Array) -> dict[str, npt.NDArray[Any]]:
    """Memory for a layer of this width seen through n rows, of which a step reads m; its weights
    are padded to `like`."""
    (deep, wide), high, n_columns = like.shape, padded(n, ROWS), padded(n, COLUMNS)
    empty = partial(aligned, like.dtype)
    across = empty(deep, skewed(n_columns))
    across[:] = 0  # read beyond what is packed
    return {
        "across": across,
        "gram": empty(high, n_columns),
        "start": empty(high, skewed(wide)),
        "scales": empty(2),
        "moved": aligned(np.bool_, n),
        "a": empty(n, width),
        "b": empty(n, width),
        "z": empty(m, width),
        "unit": empty(m, width),
        "d": empty(m, width),
        "wide": empty(n, skewed(wide)),
    }
