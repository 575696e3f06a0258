"""What the two tasks of CROMA minimize: as autograd reads it, and with gradients written out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.heads import Theta
from xmg.engine.kernels import contrast, units
from xmg.engine.losses import alignment_loss

_KERNELS = {
    "info-nce": contrast.info_nce,
    "nce-margin": contrast.nce_margin,
    "nce-logistic": contrast.nce_logistic,
    "sigmoid": contrast.sigmoid,
    "triplet-hard": contrast.triplet_hard,
    "class-mean-hinge": contrast.class_mean_hinge,
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

    def gradient(self, y: Mapping[str, Tensor], t: int) -> tuple[float, Theta]:
        """The same, with its gradients written out."""
        (z_s, norms_s), (z_t, norms_t) = _unit(y["source"]), _unit(y["target"])
        n = len(z_s)
        z_pair, z_neg = z_t[:n], z_t[n:]
        own = None if self.shared else z_neg.reshape(n, -1, z_t.shape[1])  # (B, K, w)
        pairs = z_s @ z_pair.T
        negatives = z_s @ z_neg.T if own is None else torch.bmm(own, z_s[:, :, None])[:, :, 0]
        d_pairs, d_negatives = torch.empty_like(pairs), torch.empty_like(negatives)
        constant = self.margin if self.name in _BY_MARGIN else self.tau
        arrays = (pairs.numpy(), negatives.numpy(), d_pairs.numpy(), d_negatives.numpy())
        value = _KERNELS[self.name](*arrays[:2], constant, self.n_sets, *arrays[2:])
        d_s, d_t = d_pairs @ z_pair, torch.empty_like(z_t)
        torch.mm(d_pairs.T, z_s, out=d_t[:n])
        if own is None:
            d_s.addmm_(d_negatives, z_neg)
            torch.mm(d_negatives.T, z_s, out=d_t[n:])
        else:
            d_s += torch.bmm(d_negatives[:, None], own)[:, 0]
            torch.mul(d_negatives[:, :, None], z_s[:, None], out=d_t[n:].view_as(own))
        return value, {
            "source": _through_unit(z_s, norms_s, d_s),
            "target": _through_unit(z_t, norms_t, d_t),
        }


@dataclass(frozen=True, slots=True)
class Classification:
    """T_s: cross-entropy of cosine logits z . phi / tau; labels (T, m), by step."""

    labels: Tensor
    tau: float
    dense: ClassVar[tuple[str, ...]] = ("phi",)

    def loss(self, y: Mapping[str, Tensor], t: int) -> Tensor:
        """By autograd's reading: the definition."""
        logits = F.normalize(y["source"], dim=-1) @ y["phi"] / self.tau
        return F.cross_entropy(logits, self.labels[t])

    def gradient(self, y: Mapping[str, Tensor], t: int) -> tuple[float, Theta]:
        """The same, with its gradients written out."""
        z, norms = _unit(y["source"])
        logits = z @ y["phi"]
        d = torch.empty_like(logits)
        value = units.cross_entropy(logits.numpy(), self.labels[t].numpy(), self.tau, d.numpy())
        d_z = d @ y["phi"].T
        return value, {"source": _through_unit(z, norms, d_z), "phi": z.T @ d}


def _unit(y: Tensor) -> tuple[Tensor, Tensor]:
    y = y.contiguous()
    z, norms = torch.empty_like(y), y.new_empty(len(y))
    units.unit(y.numpy(), z.numpy(), norms.numpy())
    return z, norms


def _through_unit(z: Tensor, norms: Tensor, d: Tensor) -> Tensor:
    units.through_unit(z.numpy(), norms.numpy(), d.numpy())
    return d
