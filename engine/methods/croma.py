"""CROMA: meta-alignment and meta-classification together (arXiv:2012.02813, algorithm 1)."""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.cache import FeatureFile
from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.episodes import Stream, draw_pairs, draw_tasks, key_of
from xmg.engine.fetch import fetch, fetch_stored
from xmg.engine.fronts import Fronts
from xmg.engine.inner.choose import descend
from xmg.engine.inner.meta import clone, reptile
from xmg.engine.inner.phase import Optimizer, Phase, Theta
from xmg.engine.learner import Learner
from xmg.engine.losses import alignment_loss
from xmg.engine.problem import MetaTrain
from xmg.engine.whitening import Whitening

_BLOCK = 4096  # rows fetched at a time


@dataclass(frozen=True, slots=True)
class Episode:
    """One meta-iteration's data, task T_a and task T_s: stored (D columns) or whitened (d)."""

    source: Tensor  # (B, d_s)
    target: Tensor  # (B, d_t)
    negatives: Tensor  # (B, K, d_t)
    shots: Tensor  # (n_way * k_shot, d_s)
    labels: Tensor  # (n_way * k_shot,)
    n_sets: int  # pair b is of set b % n_sets


def start(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """theta^meta before training: heads that keep what the encoders know, phi = 0.

    e_t starts as the identity on whitened features, and e_s as the rotation that brings each
    set's mean source row nearest to its mean target row (orthogonal Procrustes: U V^T from the
    singular value decomposition of A^T B, Schonemann, Psychometrika 1966).
    """
    sets = train.sets
    a = _set_means(train.source.file, fronts.source, sets.source_rows, sets.source_offsets)
    b = _set_means(train.target, fronts.target, sets.target_rows, sets.target_offsets)
    u, _, vh = torch.linalg.svd(a.T @ b, full_matrices=False)
    target = torch.eye(b.shape[1], config.width)
    return {
        "source": u @ vh @ target,
        "target": target,
        "phi": torch.zeros(config.width, config.n_way),
    }


def _set_means(file: FeatureFile, front: Whitening, rows: Rows, offsets: Rows) -> Tensor:
    """Mean unit row of each set, (S, d)."""
    return torch.stack([_mean(file, front, rows[i:j]) for i, j in pairwise(offsets)])


def _mean(file: FeatureFile, front: Whitening, rows: Rows) -> Tensor:
    total = torch.zeros(front.offset.numel())
    for i in range(0, len(rows), _BLOCK):
        total += F.normalize(front(fetch(file, rows[i : i + _BLOCK])), dim=-1).sum(0)
    return total / len(rows)


def draw(train: MetaTrain, config: Config, i: int) -> Episode:
    """Fetch the data of meta-iteration i, as it is stored."""
    k_pairs = config.k_pairs if config.concepts or config.sets == "label" else 1
    shape = (min(config.n_sets, len(train.sets)), k_pairs, config.n_negatives)
    source, target, negatives = draw_pairs(train.sets, key_of(config.seed, Stream.ALIGN), i, shape)
    support, _ = draw_tasks(
        train.source, key_of(config.seed, Stream.CLASSIFY), i, (1, config.n_way, config.k_shot, 0)
    )
    return Episode(
        fetch_stored(train.source.file, source, n_threads=1),  # the loop needs its cores
        fetch_stored(train.target, target, n_threads=1),
        fetch_stored(train.target, negatives, n_threads=1),
        fetch_stored(train.source.file, support, n_threads=1).flatten(0, -2),
        torch.arange(config.n_way).repeat_interleave(config.k_shot),
        shape[0],
    )


def whiten(episode: Episode, fronts: Fronts) -> Episode:
    """Pass an episode through the frozen fronts."""
    return replace(
        episode,
        source=fronts.source(episode.source),
        target=fronts.target(episode.target),
        negatives=fronts.target(episode.negatives),
        shots=fronts.source(episode.shots),
    )


def learner(theta: Theta, fronts: Fronts) -> Learner:
    """CROMA at meta-test: starts from e_t^meta and phi^meta."""
    return Learner(fronts.target, theta["target"].detach(), theta["phi"].detach())


def meta_iteration(theta: Theta, episode: Episode, config: Config) -> dict[str, float]:
    """Move theta = {source, target, phi} in place; returns the losses before the first steps.

    e_s and e_t descend on NCE over T_a, then phi and e_s on cross-entropy over T_s, then all
    take the Reptile step.
    """
    task = clone(theta)
    found = {}
    for name, phase, rate in (
        ("align_loss", align(episode, config), config.align_rate),
        ("classify_loss", classify(episode, config), config.classify_rate),
    ):
        optimizer = Optimizer(config.optimizer, rate, config.momentum, config.weight_decay)
        found[name] = descend(task, phase, config.inner_steps, optimizer)[0]
    reptile(theta, task, config.meta_step)
    return found


def align(episode: Episode, config: Config) -> Phase:
    """T_a: e_s and e_t on the contrastive loss."""
    n_pairs, n_negatives = episode.negatives.shape[:2]
    nce = alignment_loss(config.loss, config.tau, config.margin, episode.n_sets)

    def loss(y: Theta) -> Tensor:
        z_s, z_t = F.normalize(y["source"], dim=-1), F.normalize(y["target"], dim=-1)
        z_neg = z_t[n_pairs:].reshape(n_pairs, n_negatives, -1)
        return nce(z_s, z_t[:n_pairs], z_neg)

    target = torch.cat([episode.target, episode.negatives.flatten(0, 1)])
    return Phase({"source": episode.source, "target": target}, (), loss)


def classify(episode: Episode, config: Config) -> Phase:
    """T_s: e_s and phi on cross-entropy."""

    def loss(y: Theta) -> Tensor:
        logits = F.normalize(y["source"], dim=-1) @ y["phi"] / config.tau
        return F.cross_entropy(logits, episode.labels)

    return Phase({"source": episode.shots}, ("phi",), loss)
