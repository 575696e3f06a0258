"""What an inner loop is given: which heads learn from which rows, by which loss and which steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Theta = dict[str, Tensor]  # named parameters


@dataclass(frozen=True, slots=True)
class Phase:
    """Some steps on one task.

    rows: for each head that learns, by name, the rows (n, d) that it projects; the head is (d, w).
    dense: names of further parameters that learn.
    loss: of the projections rows[name] @ head, by name, and of the dense parameters, by name.
    """

    rows: Mapping[str, Tensor]
    dense: Sequence[str]
    loss: Callable[[Theta], Tensor]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """How a step follows from a gradient; state is fresh in every phase.

    adam: Kingma, Ba (arXiv:1412.6980) with its default constants. sgd, for a gradient g at w:
    b <- momentum b + g + weight_decay w, then w <- w - rate b, from b = 0.
    """

    kind: Literal["adam", "sgd"]
    rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
