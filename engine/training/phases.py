"""The tasks of a meta-iteration as inner-loop phases: what each step reads and minimizes.

CROMA has two, `align` and `classify`; the others are of the systems in `engine/methods/`.
"""

from functools import cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.inputs import Episode, n_steps_drawn, step_size
from xmg.engine.inner.phase import Objective, Optimizer, Phase
from xmg.engine.losses.objectives import Alignment, Classification
from xmg.engine.losses.rivals import Confusion, Cycle, Reconstruction
from xmg.engine.model.heads import MLP, Head, Linear, Residual, Theta, Through, project
from xmg.engine.model.lstm import LSTM


def head_of(config: Config, name: str) -> Head:
    """The head of "source" or "target"."""
    source = name == "source"
    if not source and config.system.startswith("shared"):
        return Through("source")
    kind = (config.source_head if source else config.target_head) or config.head
    if kind == "lstm" and source:
        return LSTM(config.hidden, config.source_layers, config.source_bidirectional)
    if kind == "lstm":
        return LSTM(config.hidden, config.target_layers, config.target_bidirectional)
    if kind == "mlp":
        return MLP(config.hidden, config.bias)
    return Residual(config.rank) if kind == "residual" else Linear(config.bias)


def optimizer_of(config: Config, rate: float) -> Optimizer:
    """The configured inner steps at this rate."""
    return Optimizer(config.optimizer, rate, config.momentum, config.weight_decay)


def align(episode: Episode, config: Config) -> Phase:
    """T_a: e_s and e_t on the contrastive loss. Rows may lead with a dimension of tasks."""
    n, n_steps = episode.n_pairs, n_steps_drawn(config)
    size = step_size(config, n)
    source, target = _alignment_plan(
        n, size, n_steps, config.negatives, config.n_negatives, str(episode.source.device)
    )
    rows = {"source": episode.source, "target": episode.target}
    n_sets = min(size, episode.n_sets)
    shared = config.negatives != "pair"
    objective = Alignment(config.loss, config.tau, config.margin, n_sets, shared)
    picks = {}
    if size < n:
        picks["source"] = source
    if size < n or config.negatives == "step":
        picks["target"] = target
    heads = {name: head_of(config, name) for name in rows}
    return Phase(heads, rows, picks, objective)


def classify(episode: Episode, config: Config) -> Phase:
    """T_s: e_s and phi on cross-entropy."""
    return _classify("source", episode.shots, episode.labels, config)


def classify_target(episode: Episode, config: Config) -> Phase:
    """The same on labels, or pseudo-labels, of target rows: e_t and phi."""
    return _classify("target", episode.target_shots, episode.labels, config)


def classify_all(episode: Episode, config: Config) -> Phase:
    """The shots as samples of an ordinary classifier of all source classes: e_s and `classes`."""
    return _classify("source", episode.shots, episode.classes, config, "classes")


def classify_all_target(episode: Episode, config: Config) -> Phase:
    """The same of all the target's classes, or groups: e_t and `classes`."""
    return _classify("target", episode.target_shots, episode.target_classes, config, "classes")


def _classify(
    name: str, rows: Tensor, labels: Tensor, config: Config, classifier: str = "phi"
) -> Phase:
    n, k = len(labels), len(labels) // config.n_way
    n_support = n // 2 if config.meta_gradient == "fomaml" else n
    size = step_size(config, n_support)
    picks = _classification_plan(
        config.n_way, k, n_support, size, n_steps_drawn(config), str(labels.device)
    )
    whole = size == n
    by_step = labels.expand(len(picks), n) if whole else labels[picks]
    objective = Classification(by_step, config.tau, name, (classifier,))
    return Phase(
        {name: head_of(config, name)}, {name: rows}, {} if whole else {name: picks}, objective
    )


def confuse(episode: Episode, config: Config) -> Phase:
    """Rows of the pairs, unpaired, as samples of either modality for a discriminator."""
    return _both(episode, config, Confusion(episode.n_pairs))


def cycle(episode: Episode, config: Config) -> Phase:
    """The pairs, translated there and back."""
    n = episode.n_pairs
    return _both(episode, config, Cycle(episode.source, episode.target[:n]))


def _both(episode: Episode, config: Config, objective: Objective) -> Phase:
    rows = {"source": episode.source, "target": episode.target[: episode.n_pairs]}
    return Phase({name: head_of(config, name) for name in rows}, rows, {}, objective)


def reconstruct(episode: Episode, config: Config) -> Phase:
    """Unlabelled target rows, decoded from their embeddings."""
    rows = episode.target_shots
    return Phase({"target": head_of(config, "target")}, {"target": rows}, {}, Reconstruction(rows))


def mined(theta: Theta, episode: Episode, config: Config) -> Tensor:
    """The pairs' target rows, then each pair's hard negatives: (..., B + B K, d_t).

    Those are the candidates nearest to its source row under the heads theta. One that is nearer
    than its own target row less false_gap may be a false negative, an unlabelled sample of the
    same class: it is taken only where no other is left, the farthest first (positive-aware
    mining, TopK-MarginPos of Moreira et al., arXiv:2407.15831).
    """
    z_s, z_t = (
        F.normalize(project(head_of(config, name), theta, name, rows), dim=-1)
        for name, rows in (("source", episode.source), ("target", episode.target))
    )
    n = episode.n_pairs
    pairs, candidates = z_t[..., :n, :], z_t[..., n:, :]
    cosines = z_s @ candidates.mT  # (..., B, M)
    ceiling = (z_s * pairs).sum(-1, keepdim=True) - config.false_gap
    order = torch.where(cosines > ceiling, -4 - cosines, cosines)  # false ones below all others
    chosen = order.topk(config.n_negatives).indices.flatten(-2) + n  # (..., B K)
    dim = 1 if episode.stacked else 0
    columns = episode.target.shape[dim + 1 :]
    chosen = chosen.reshape(*chosen.shape, *[1] * len(columns)).expand(*chosen.shape, *columns)
    pairs = episode.target.narrow(dim, 0, n)
    return torch.cat([pairs, episode.target.gather(dim, chosen)], dim)


@cache
def _alignment_plan(
    n: int, size: int, n_steps: int, kind: str, n_negatives: int, device: str
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
    return slots.to(device), torch.cat([slots, n + negatives], 1).to(device)


@cache
def _classification_plan(
    n_way: int, k: int, n_support: int, size: int, n_steps: int, device: str
) -> Tensor:
    """Rows (T, b) of k shots a class, class by class: steps take turns, all classes alike.

    Where there are more rows than the support's, the last step reads the others: queries.
    """
    if size == n_way * k:
        return torch.arange(size, device=device).expand(n_steps, size)
    order = torch.arange(n_way * k).reshape(n_way, k).T.flatten()  # shot by shot
    turns = _turns(n_support, size, n_steps)
    if n_support < n_way * k:
        turns[-1] = n_support + torch.arange(size)
    return order[turns].to(device)


def _turns(n: int, size: int, n_steps: int) -> Tensor:
    return (torch.arange(n_steps)[:, None] * size + torch.arange(size)) % n
