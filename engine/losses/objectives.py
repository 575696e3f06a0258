"""What the tasks of CROMA minimize: as autograd reads it, and with gradients written out."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import numpy as np
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.kernels import contrast
from xmg.engine.kernels.descend import Layer, Steps
from xmg.engine.kernels.span import Span
from xmg.engine.losses.contrastive import alignment_loss
from xmg.engine.model.heads import Theta

_KINDS = {
    "info-nce": contrast.INFO_NCE,
    "nce-margin": contrast.NCE_MARGIN,
    "nce-logistic": contrast.NCE_LOGISTIC,
    "sigmoid": contrast.SIGMOID,
    "triplet-hard": contrast.TRIPLET_HARD,
    "class-mean-hinge": contrast.CLASS_MEAN_HINGE,
}
_BY_MARGIN = {"nce-margin", "triplet-hard", "class-mean-hinge"}


@dataclass(frozen=True, slots=True)
class Alignment:
    """T_a: a contrastive loss between e_s and e_t.

    y["source"] (B, w) are the pairs of a step; y["target"] holds theirs, then the negatives: B K
    rows, pair by pair, or K rows where `shared`. Row b is of set b % n_sets.
    """

    name: str
    tau: float
    margin: float
    n_sets: int
    shared: bool
    dense: ClassVar[tuple[str, ...]] = ()

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """By autograd's reading: the definition."""
        z_s, z_t = F.normalize(y["source"], dim=-1), F.normalize(y["target"], dim=-1)
        n = len(z_s)
        z_neg = z_t[n:] if self.shared else z_t[n:].reshape(n, -1, z_t.shape[1])
        return alignment_loss(self.name, self.tau, self.margin, self.n_sets)(z_s, z_t[:n], z_neg)

    def descend(
        self, kernels: ModuleType, layers: Mapping[str, Layer | Span], rest: Theta, steps: Steps
    ) -> list[float]:
        """Take all steps on heads that are nothing but first layers; the losses before each."""
        losses = np.empty(len(steps.constants))
        kernels.alignment(layers["source"], layers["target"], steps, self.settings, losses)
        return losses.tolist()

    @property
    def settings(self) -> tuple[int, float, int, bool]:
        """As the kernels take them: kind, temperature or margin, n_sets, shared."""
        constant = self.margin if self.name in _BY_MARGIN else self.tau
        return _KINDS[self.name], constant, self.n_sets, self.shared


@dataclass(frozen=True, slots=True)
class Classification:
    """T_s: cross-entropy of cosine logits z . phi / tau; labels (T, m), by step.

    head: whose rows. dense: the name of the classifier, one column for each label.
    """

    labels: Tensor
    tau: float
    head: str = "source"
    dense: tuple[str, ...] = ("phi",)

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """By autograd's reading: the definition."""
        logits = F.normalize(y[self.head], dim=-1) @ y[self.dense[0]] / self.tau
        return F.cross_entropy(logits, self.labels[t])

    def descend(
        self, kernels: ModuleType, layers: Mapping[str, Layer | Span], rest: Theta, steps: Steps
    ) -> list[float]:
        """Take all steps on a head that is nothing but a first layer; the losses before each."""
        losses = np.empty(len(steps.constants))
        phi, labels = rest[self.dense[0]].numpy(), self.labels.contiguous().numpy()
        kernels.classification(layers[self.head], phi, steps, labels, self.tau, losses)
        return losses.tolist()
