"""What an inner loop is given: which heads learn from which rows, by which loss and which steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal, Protocol, TypeGuard

from torch import Tensor

from xmg.engine.kernels.descend import Layer, Steps
from xmg.engine.kernels.span import Span
from xmg.engine.model.heads import Head, Theta


class Objective(Protocol):
    """What a task minimizes, of embeddings by head and of dense parameters by name."""

    @property
    def dense(self) -> tuple[str, ...]:
        """Names of the parameters that learn beside the heads."""

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """The loss of step t, a scalar."""


class Fused(Objective, Protocol):
    """An objective whose gradients are written out too."""

    def descend(
        self, kernels: ModuleType, layers: Mapping[str, Layer | Span], rest: Theta, steps: Steps
    ) -> list[float]:
        """Take all steps on heads that are nothing but first layers, and on `rest` in place.

        kernels: of the solver, whose layers these are. Returns the loss before each step.
        """


def is_fused(objective: Objective) -> TypeGuard[Fused]:
    """Whether it has gradients written out; a check of all of the protocol would take 50 us."""
    return hasattr(objective, "descend")


@dataclass(frozen=True, slots=True)
class Phase:
    """Some steps on one task.

    rows: by head, the rows (n, d) that the task holds.
    picks: by head, (T, m): step t reads rows[picks[t]]. An absent head reads all rows each time.
    """

    heads: Mapping[str, Head]
    rows: Mapping[str, Tensor]
    picks: Mapping[str, Tensor]
    objective: Objective

    @property
    def rest(self) -> tuple[str, ...]:
        """What learns beside the first layers of the heads."""
        tails = [n for name, head in self.heads.items() for n in head.learns(name)[1:]]
        return (*tails, *self.objective.dense)

    def read(self, name: str, t: int) -> Tensor:
        """The rows (m, d) that a head reads at step t."""
        picks = self.picks.get(name)
        return self.rows[name] if picks is None else self.rows[name][picks[t]]


BETAS, TINY = (0.9, 0.999), 1e-8  # Adam's defaults


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

    def corrected(self, t: int) -> tuple[float, float]:
        """What step t = 1, 2, ... of adam scales m by, and sqrt(v): rate / (1 - b1^t) and
        (1 - b2^t)^-1/2."""
        b1, b2 = BETAS
        return self.rate / (1 - b1**t), (1 - b2**t) ** -0.5
