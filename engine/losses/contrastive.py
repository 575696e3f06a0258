"""Contrastive losses of meta-alignment. All take unit rows and return nats or a hinge, a scalar.

z_s (B, d) source, z_t (B, d) target, paired by row; z_neg targets of other sets, (B, K, d) with K
for each pair or (K, d) shared by all. Row b is of set b % n_sets.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

Contrast = Callable[[Tensor, Tensor, Tensor], Tensor]


def similarities(z_s: Tensor, z_t: Tensor, z_neg: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the pairs (B, 1) and of each source row with its negatives (B, K)."""
    positive = (z_s * z_t).sum(-1, keepdim=True)
    if z_neg.dim() == 2:
        return positive, z_s @ z_neg.T
    return positive, torch.einsum("bd,bkd->bk", z_s, z_neg)


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


def sigmoid(z_s: Tensor, z_t: Tensor, z_neg: Tensor, tau: float) -> Tensor:
    """Pairwise sigmoid loss of SigLIP (Zhai, Mustafa, Kolesnikov, Beyer, arXiv:2303.15343):

        L = -1/B sum_i [ log g(s_i.t_i / tau + b) + sum_k log g(-s_i.n_ik / tau - b) ],

    g the logistic. The paper learns tau and b; here b = -log K, the odds of a pair, which spares
    the first steps from learning that most rows do not match.
    """
    positive, negative = similarities(z_s, z_t, z_neg)
    bias = -math.log(z_neg.shape[-2])
    pairs, others = F.logsigmoid(positive / tau + bias), F.logsigmoid(-negative / tau - bias)
    return -(pairs.sum() + others.sum()) / len(z_s)


def triplet_hard(z_s: Tensor, z_t: Tensor, z_neg: Tensor, margin: float, n_sets: int) -> Tensor:
    """Triplets with the hardest negatives, VSE++ (Faghri, Fleet, Kiros, Fidler, arXiv:1707.05612):

        L = 1/B sum_i [ h(max_k s_i.n_ik - s_i.t_i) + h(max_j s_j.t_i - s_i.t_i) ],

    h(x) = max(0, margin + x), k over the sampled negatives, j over the rows of other sets, of which
    there must be one: n_sets >= 2.
    """
    positive, negative = similarities(z_s, z_t, z_neg)
    sets = torch.arange(len(z_s), device=z_s.device) % n_sets
    same = sets[:, None] == sets
    back = (z_t @ z_s.T).masked_fill(same, -torch.inf)
    hardest = torch.stack([negative.amax(1), back.amax(1)], 1)  # (B, 2)
    return F.relu(margin + hardest - positive).sum(1).mean()


def class_mean_hinge(z_s: Tensor, z_t: Tensor, margin: float, n_sets: int) -> Tensor:
    """The hinge between set means that the CROMA paper's released code trains with:

        L = 1/(C (C - 1)) sum_{c != c'} max(0, m + a_c.b_c' - a_c.b_c),

    m the margin, a_c and b_c the mean source and target row of set c of C = n_sets >= 2. Means are
    not brought back to unit norm; no negatives are sampled.
    """
    a, b = (z.reshape(-1, n_sets, z.shape[1]).mean(0) for z in (z_s, z_t))
    scores = a @ b.T
    hinge = F.relu(margin + scores - scores.diagonal()[:, None])
    apart = 1 - torch.eye(n_sets, dtype=hinge.dtype, device=hinge.device)
    return (hinge * apart).sum() / (n_sets * (n_sets - 1))


def alignment_loss(name: str, tau: float, margin: float, n_sets: int) -> Contrast:
    """Return the loss called `name` in a config, of (z_s, z_t, z_neg)."""
    losses: dict[str, Contrast] = {
        "info-nce": lambda s, t, n: info_nce(s, t, n, tau),
        "nce-margin": lambda s, t, n: nce_margin(s, t, n, margin),
        "nce-logistic": lambda s, t, n: nce_logistic(s, t, n, tau),
        "sigmoid": lambda s, t, n: sigmoid(s, t, n, tau),
        "triplet-hard": lambda s, t, n: triplet_hard(s, t, n, margin, n_sets),
        "class-mean-hinge": lambda s, t, _: class_mean_hinge(s, t, margin, n_sets),
    }
    return losses[name]
