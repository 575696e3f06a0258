"""What other systems minimize beside CROMA's two objectives; gradients are autograd's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Confusion:
    """A modality discriminator that the heads fool: they climb its loss while it descends.

    D(z) = relu(z U) v on unit rows z of both modalities, trained by the logistic loss; the
    gradient is reversed before the heads (Ganin, Lempitsky, "Unsupervised Domain Adaptation by
    Backpropagation", ICML 2015). n: rows of y["target"] that are read, the first ones.
    """

    n: int
    dense: ClassVar[tuple[str, ...]] = ("discriminator", "discriminator.out")

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """log(1 + exp(-D)) of source rows, log(1 + exp(D)) of target rows, the mean of both."""
        source, target = (
            _reversed(F.normalize(rows, dim=-1)) for rows in (y["source"], y["target"][: self.n])
        )
        scores = [(F.relu(z @ y[self.dense[0]]) @ y[self.dense[1]]) for z in (source, target)]
        return (F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean()) / 2


def _reversed(z: Tensor) -> Tensor:
    """The same values, and the gradient's sign turned round."""
    return 2 * z.detach() - z


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Squared error of rows decoded from their own embeddings, x ~ e(x) V, over that of the mean.

    rows (n, d) are those that the head reads.
    """

    rows: Tensor
    dense: ClassVar[tuple[str, ...]] = ("decoder",)

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """Mean squared error, 1 for an embedding that tells nothing of rows centred at 0."""
        return _error(y["target"] @ y["decoder"], self.rows)


@dataclass(frozen=True, slots=True)
class Cycle:
    """Translation there and back (Pham, Liang, Manzini, Morency, Poczos, "Found in Translation",
    AAAI 2019), through the space of embeddings.

    Either row of a pair is decoded from the other's embedding (there) and from its own (back);
    rows (n, d) of each side are the pairs'.
    """

    source: Tensor
    target: Tensor
    dense: ClassVar[tuple[str, ...]] = ("source.decoder", "target.decoder")

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """Mean of the four errors."""
        z = y["source"], y["target"][: len(self.target)]
        sides = ("source.decoder", self.source), ("target.decoder", self.target)
        errors = [_error(one @ y[decoder], x) for one in z for decoder, x in sides]
        return sum(errors[1:], errors[0]) / len(errors)


def _error(found: Tensor, x: Tensor) -> Tensor:
    return (found - x).square().sum() / x.square().sum()
