"""Predictions of a finished run one by one, and the training pairs nearest to each query."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.pairs import Rows
from xmg.engine.analysis.retrieval import Aligned, open_aligned, search
from xmg.engine.compute import flushed_denormals
from xmg.engine.data.problem import strong_pairs
from xmg.engine.data.streams import Stream, generator
from xmg.engine.data.tasks import Tasks, selection_tasks, test_tasks
from xmg.engine.evaluate import select
from xmg.engine.learner import Setting, logits_of
from xmg.engine.methods.system import learner


@dataclass(frozen=True, slots=True)
class NearPair:
    """A pair of meta-training near a query: cosines are of meta-trained embeddings with its own.

    name: its set, which is the concept where pairs are weak. source: the id paired with target;
    where pairs are weak, of the concept's source rows the nearest to the query.
    """

    name: str
    target: str
    cosine: float
    source: str
    source_cosine: float


@dataclass(frozen=True, slots=True)
class Example:
    """One query of a frozen meta-test task, by ids and class names."""

    shots: int
    task: int  # episode: repeat * n_tasks + task
    query: str
    true: str
    predicted: str
    scores: Mapping[str, float]  # probability of each class of the task
    support: Mapping[str, tuple[str, ...]]  # by the class that the learner was told
    pairs: tuple[NearPair, ...]  # nearest first
    setting: Mapping[str, Any]  # how the learner adapts, chosen by meta-validation

    @property
    def right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.predicted == self.true


def examples(run: Path, shots: int, n: int | None = None, n_pairs: int = 3) -> list[Example]:
    """What a run predicts for n queries of its frozen test tasks, drawn by its seed.

    n: all of them, task by task, if None; those of fewer come first among more. Tasks and settings
    are those of evaluate_run, so over all queries the share that is right is its accuracy. n_pairs:
    how many pairs to name. A query is embedded by e_t^meta for them, before the few labels move
    the head. Raises XmgError as `open_aligned`, and where a number is below 1.
    """
    for name, value in (("shots", shots), ("n", n), ("n_pairs", n_pairs)):
        if value is not None and value < 1:
            raise XmgError(f"{name} = {value} of the predictions to show. fix: name at least 1")
    return predict(open_aligned(run, shots), shots, n, n_pairs)


@flushed_denormals()
def predict(aligned: Aligned, shots: int, n: int | None, n_pairs: int) -> list[Example]:
    """The same of a run that is open; it was opened for so many shots."""
    tasks = test_tasks(aligned.problem.test, aligned.config, [shots])[shots]
    setting, probabilities = _predict(aligned, tasks, shots)
    chosen = _chosen(tasks, n, aligned.config.seed)  # (n, 2)
    rows = tasks.query.reshape(len(tasks.query), -1)[chosen[:, 0], chosen[:, 1]]
    near = nearest_pairs(aligned, rows, n_pairs)
    said = aligned.target
    return [
        Example(
            shots, task, ids, *_named(tasks, task, query, p), _support(said, tasks, task), pairs,
            setting._asdict(),
        )
        for (task, query), ids, p, pairs in zip(
            chosen.tolist(), decode(said.ids[rows]), probabilities[chosen[:, 0], chosen[:, 1]],
            near, strict=True,
        )
    ]  # fmt: skip


def nearest_pairs(aligned: Aligned, rows: Rows, n_pairs: int) -> list[tuple[NearPair, ...]]:
    """The pairs of meta-training whose target rows lie nearest to target rows (n,), nearest first.

    By cosine of e_t^meta, exactly; a target row is in one pair or one concept.
    """
    sets = aligned.problem.train.sets
    z = aligned.embed("target", rows)
    cosines, found = search(z, aligned.embed("target", sets.target_rows), n_pairs)
    targets = sets.target_rows[found.numpy()]  # (n, n_pairs)
    owners = np.searchsorted(sets.target_offsets, found.numpy(), "right") - 1
    near = _of_concepts(aligned, z, owners) if aligned.weak else _partners(aligned, z, targets)
    sources, others = near
    columns = (
        np.asarray(sets.names, object)[owners].tolist(),
        _ids(aligned.target, targets),
        cosines.tolist(),
        _ids(aligned.source, sources),
        others.tolist(),
    )
    return [
        tuple(NearPair(*values) for values in zip(*query, strict=True))
        for query in zip(*columns, strict=True)
    ]


def _predict(aligned: Aligned, tasks: Tasks, shots: int) -> tuple[Setting, Tensor]:
    """The setting that meta-validation chooses, and probabilities (E, n_way * q, n_way)."""
    config = aligned.config
    classifier = learner(aligned.theta, aligned.fronts, config)
    seen = selection_tasks(aligned.problem.validation, config, [shots])[shots]
    setting: Setting = select([classifier], seen, config.tau)[1]
    scores = classifier.scores(tasks, [setting], config.tau)[0]
    return setting, logits_of(scores, setting, config.tau).softmax(-1)


def _chosen(tasks: Tasks, n: int | None, seed: int) -> Rows:
    """Numbers of task and query, (n, 2)."""
    n_tasks, n_queries = len(tasks.query), tasks.query[0].size
    order = np.arange(n_tasks * n_queries)
    if n is not None:
        order = generator(seed, Stream.SHOWN).permutation(order)[:n]
    return np.stack([order // n_queries, order % n_queries], 1)


def _named(tasks: Tasks, task: int, query: int, p: Tensor) -> tuple[str, str, dict[str, float]]:
    """The true class, the predicted one, and the probability of each."""
    names = tasks.names[task]
    true = names[int(tasks.query_labels[query])]
    return true, names[int(p.argmax())], dict(zip(names, p.tolist(), strict=True))


def _support(file: FeatureFile, tasks: Tasks, task: int) -> dict[str, tuple[str, ...]]:
    """Ids of the support by the class that it is said to be of."""
    ids, labels = decode(file.ids[tasks.support[task].ravel()]), tasks.support_labels[task].tolist()
    return {
        name: tuple(i for i, label in zip(ids, labels, strict=True) if label == c)
        for c, name in enumerate(tasks.names[task])
    }


def _partners(aligned: Aligned, z: Tensor, targets: Rows) -> tuple[Rows, Tensor]:
    """A source row paired with each of the target rows (n, p), and their cosines with z (n, w)."""
    source, target, _ = strong_pairs(aligned.config, aligned.source, aligned.target)
    order = np.argsort(target, kind="stable")
    rows = source[order][np.searchsorted(target[order], targets)]  # (n, p)
    others = aligned.embed("source", rows.ravel()).reshape(*rows.shape, -1)
    return rows, (others * z[:, None]).sum(-1)


def _of_concepts(aligned: Aligned, z: Tensor, owners: Rows) -> tuple[Rows, Tensor]:
    """Of the source rows of each concept in owners (n, p) the nearest to z (n, w); cosines."""
    sets = aligned.problem.train.sets
    rows, cosines = np.empty_like(owners), torch.empty(owners.shape)
    for c in np.unique(owners):
        members = sets.source_rows[sets.source_offsets[c] : sets.source_offsets[c + 1]]
        where = owners == c
        queries = np.nonzero(where)[0]
        best, found = search(z[queries], aligned.embed("source", members), 1)
        rows[where], cosines[where] = members[found[:, 0].numpy()], best[:, 0]
    return rows, cosines


def _ids(file: FeatureFile, rows: Rows) -> list[list[str]]:
    return [decode(file.ids[part]) for part in rows]
