"""Contrastive losses of meta-alignment. All take unit rows and return nats or a hinge, a scalar.

z_s (B, d) source, z_t (B, d) target, paired by row; z_neg (B, K, d) targets of other sets.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def similarities(z_s: Tensor, z_t: Tensor, z_neg: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the pairs (B, 1) and of each source row with its negatives (B, K)."""
    positive = (z_s * z_t).sum(-1, keepdim=True)
    negative = torch.einsum("bd,bkd->bk", z_s, z_neg)
    return positive, negative


def info_nce(z_s: Tensor, z_t: Tensor, z_neg: Tensor, tau: float) -> Tensor:
    """InfoNCE, eq. 4 of van den Oord, Li, Vinyals (arXiv:1807.03748), f(a, b) = exp(a.b / tau):

        L = -1/B sum_i log f(s_i, t_i) / (f(s_i, t_i) + sum_k f(s_i, n_ik)).

    At least 0, and log(1 + K) where all rows agree.
    """
    positive, negative = similarities(z_s, z_t, z_neg)
    logits = torch.cat([positive, negative], 1) / tau  # (B, 1 + K)
    return -torch.log_softmax(logits, 1)[:, 0].mean()


def nce_margin(z_s: Tensor, z_t: Tensor, z_neg: Tensor, margin: float) -> Tensor:
    """Eq. 2 of the CROMA paper (arXiv:2012.02813), bounded below by its loss margin m:

    L = 1/(B K) sum_ik max(0, m + s_i.n_ik - s_i.t_i).
    """
    positive, negative = similarities(z_s, z_t, z_neg)
    return F.relu(margin + negative - positive).mean()


def nce_logistic(z_s: Tensor, z_t: Tensor, z_neg: Tensor, tau: float) -> Tensor:
    """Logistic NCE (Gutmann, Hyvarinen, AISTATS 2010) without the noise density's offset:

    L = 1/B sum_i [ -log g(s_i.t_i / tau) - 1/K sum_k log g(-s_i.n_ik / tau) ], g the logistic.
    """
    positive, negative = similarities(z_s, z_t, z_neg)
    return -F.logsigmoid(positive / tau).mean() - F.logsigmoid(-negative / tau).mean()


def alignment_loss(
    name: str, tau: float, margin: float
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return the loss called `name` in a config, of (z_s, z_t, z_neg)."""
    losses: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "info-nce": lambda s, t, n: info_nce(s, t, n, tau),
        "nce-margin": lambda s, t, n: nce_margin(s, t, n, margin),
        "nce-logistic": lambda s, t, n: nce_logistic(s, t, n, tau),
    }
    return losses[name]
