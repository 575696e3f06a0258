"""The two tasks of a meta-iteration as inner-loop phases: what each step reads and minimizes."""

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.heads import MLP, Head, Linear, Residual, Theta, project
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.inputs import Episode, n_steps_drawn
from xmg.engine.kernels.mining import hardest
from xmg.engine.objectives import Alignment, Classification


def head_of(config: Config) -> Head:
    """The kind of head that both modalities have."""
    if config.head == "mlp":
        return MLP(config.hidden, config.bias)
    return Residual(config.rank) if config.head == "residual" else Linear(config.bias)


def optimizer_of(config: Config, rate: float) -> Optimizer:
    """The configured inner steps at this rate."""
    return Optimizer(config.optimizer, rate, config.momentum, config.weight_decay)


def align(episode: Episode, config: Config) -> Phase:
    """T_a: e_s and e_t on the contrastive loss."""
    n, n_steps = len(episode.source), n_steps_drawn(config)
    size = min(config.batch or n, n)
    source, target = _alignment_plan(n, size, n_steps, config.negatives, config.n_negatives)
    rows = {"source": episode.source, "target": episode.target}
    n_sets = min(size, episode.n_sets)
    shared = config.negatives != "pair"
    objective = Alignment(config.loss, config.tau, config.margin, n_sets, shared)
    picks = {}
    if size < n:
        picks["source"] = source
    if size < n or config.negatives == "step":
        picks["target"] = target
    head = head_of(config)
    return Phase({"source": head, "target": head}, rows, picks, objective)


def classify(episode: Episode, config: Config) -> Phase:
    """T_s: e_s and phi on cross-entropy."""
    n, k = len(episode.shots), len(episode.shots) // config.n_way
    n_support = n // 2 if config.meta_gradient == "fomaml" else n
    size = min(config.batch or n_support, n_support)
    picks = _classification_plan(config.n_way, k, n_support, size, n_steps_drawn(config))
    objective = Classification(episode.labels[picks], config.tau)
    whole = size == n
    return Phase(
        {"source": head_of(config)},
        {"source": episode.shots},
        {} if whole else {"source": picks},
        objective,
    )


def mined(theta: Theta, episode: Episode, config: Config) -> Tensor:
    """The pairs' target rows, then each pair's hard negatives among the candidates.

    (B + B K, d_t), the hardest under the heads theta.
    """
    n, head = len(episode.source), head_of(config)
    z_s = F.normalize(project(head, theta, "source", episode.source), dim=-1)
    z_t = F.normalize(project(head, theta, "target", episode.target), dim=-1)
    own, cosines = (z_s * z_t[:n]).sum(1), z_s @ z_t[n:].T
    chosen = torch.empty(n, config.n_negatives, dtype=torch.int64)
    hardest(cosines.numpy(), own.numpy(), config.false_gap, chosen.numpy())
    return episode.target[torch.cat([torch.arange(n), n + chosen.flatten()])]


@cache
def _alignment_plan(
    n: int, size: int, n_steps: int, kind: str, n_negatives: int
) -> tuple[Tensor, Tensor]:
    """Rows of source (T, b) and target (T, b + negatives) that each step reads.

    Steps take turns through the pairs, so that each set comes about as often.
    """
    slots = _turns(n, size, n_steps)
    if kind == "pair":
        negatives = (slots[:, :, None] * n_negatives + torch.arange(n_negatives)).flatten(1)
    elif kind == "step":
        negatives = torch.arange(n_steps * n_negatives).reshape(n_steps, n_negatives)
    else:
        negatives = torch.arange(n_negatives).expand(n_steps, n_negatives)
    return slots, torch.cat([slots, n + negatives], 1)


@cache
def _classification_plan(n_way: int, k: int, n_support: int, size: int, n_steps: int) -> Tensor:
    """Rows (T, b) of k shots a class, class by class: steps take turns, all classes alike.

    Where there are more rows than the support's, the last step reads the others: queries.
    """
    if size == n_way * k:
        return torch.arange(size).expand(n_steps, size)
    order = torch.arange(n_way * k).reshape(n_way, k).T.flatten()  # shot by shot
    turns = _turns(n_support, size, n_steps)
    if n_support < n_way * k:
        turns[-1] = n_support + torch.arange(size)
    return order[turns]


def _turns(n: int, size: int, n_steps: int) -> Tensor:
    return (torch.arange(n_steps)[:, None] * size + torch.arange(size)) % n
