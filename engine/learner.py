"""A few-shot learner at meta-test: how it starts, and how it moves on k labels per class."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.heads import Head, Theta, project, prototypes
from xmg.engine.linear_probe import decision, weights_of
from xmg.engine.tasks import Tasks

Start = Literal["class-means", "meta", "logistic"]


class Classifier(Protocol):
    """What answers few-shot tasks."""

    def settings(self) -> Sequence[Any]:
        """The settings that selection compares, plainest first; each is a NamedTuple."""

    def scores(self, tasks: Tasks, settings: Sequence[Any], tau: float) -> Tensor:
        """Scores of each query for each class, (len(settings), E, n_way * n_query, n_way)."""


class Setting(NamedTuple):
    """How a learner adapts: where phi starts, the Adam rate, and how many steps.

    "logistic": phi is logistic regression of embeddings, to convergence; rate is its C.
    own: weight of the target's own features beside the aligned ones.
    """

    start: Start
    rate: float
    n_steps: int
    own: float = 0.0


CLASS_MEANS = Setting("class-means", 0.0, 0)  # nearest class mean, no step at all
RATES = (1e-3, 1e-2)
STEPS = 20
STRENGTHS = (10.0, 100.0, 1.0, 1000.0)  # C of logistic regression, the likeliest first
OWN = (4.0, 2.0, 1.0, 0.5, 0.0)  # leaning on them is plainest: alignment has to show its worth
_CHUNK = 40  # tasks adapted together; bounds memory


@dataclass(frozen=True, slots=True)
class Learner:
    """z = unit([unit(head(front(x))), a unit(own(x))]), classified by z . phi / tau.

    front: (U, D) -> (U, d), frozen. head: of the name "target", or None for the identity, frozen
    too. theta: its parameters, and phi (w, n_way), the classifier that `start="meta"` begins
    with, or no phi where only class means make sense. own: (U, D) -> (U, d'), frozen: what the
    target knows without the source, of a weight a that the setting names; alignment keeps what
    both modalities share, and new classes may differ in the rest too.
    """

    front: Callable[[Tensor], Tensor]
    head: Head | None = None
    theta: Theta = field(default_factory=dict)
    own: Callable[[Tensor], Tensor] | None = None

    def settings(self) -> Sequence[Setting]:
        """As `settings_of`."""
        return settings_of(self)

    def scores(self, tasks: Tasks, settings: Sequence[Setting], tau: float) -> Tensor:
        """z . phi of each query, by setting and task."""
        return _scores(self, tasks, settings, tau)


def settings_of(learner: Learner) -> list[Setting]:
    """The settings that selection compares, plainest first, the same for all that can move."""
    if learner.head is None:
        return [CLASS_MEANS]
    starts: tuple[Start, ...] = (
        ("class-means", "meta") if "phi" in learner.theta else ("class-means",)
    )
    weights = OWN if learner.own else (0.0,)
    logistic = product((1.0, 0.0), STRENGTHS[:2]) if learner.own else product((0.0,), STRENGTHS)
    return [
        *(CLASS_MEANS._replace(own=a) for a in weights),
        *(Setting(s, r, STEPS) for s in starts for r in RATES),
        *(Setting("logistic", c, 0, a) for a, c in logistic),
    ]


def accuracies(classifier: Classifier, tasks: Tasks, settings: Sequence[Any], tau: float) -> Tensor:
    """Accuracy of each setting on each task, (len(settings), E) in [0, 1]."""
    predicted = classifier.scores(tasks, settings, tau).argmax(-1)
    return (predicted == tasks.query_labels).float().mean(-1)


def logits_of(scores: Tensor, setting: Setting, tau: float) -> Tensor:
    """Logits, whose softmax are probabilities, of scores (..., n_way): z . phi / tau.

    Of a logistic regression its own decision values, -inf for a class without a label; where two
    classes are left these are -f and f, with the probability 1 / (1 + exp(-f)) of the second.
    """
    if setting.start != "logistic":
        return scores / tau
    two = scores.isfinite().sum(-1, keepdim=True) == 2
    return torch.where(two, scores / 2, scores)


def _scores(learner: Learner, tasks: Tasks, settings: Sequence[Setting], tau: float) -> Tensor:
    """A task's own head and phi take n_steps Adam steps on the cross-entropy of its support."""
    x, own = _rows(learner, tasks.x)
    support, query = (tasks.locate(part).flatten(1) for part in (tasks.support, tasks.query))
    labels, n_way = tasks.support_labels, tasks.support.shape[1]
    chunks = []
    for i in range(0, len(support), _CHUNK):
        part = slice(i, i + _CHUNK)
        of_support, of_query = (_Rows(x[i], own[i]) for i in (support[part], query[part]))
        batch = _Batch(learner, of_support, of_query, labels[part], n_way, tau)
        found: dict[Setting, Tensor] = {}
        for setting in settings:
            if setting.start == "logistic":
                found[setting] = batch.logistic(setting)
        for begun in dict.fromkeys(s._replace(n_steps=0) for s in settings):
            if begun.start != "logistic":
                wanted = [s for s in settings if s._replace(n_steps=0) == begun]
                found |= _trajectory(batch, wanted)
        chunks.append(torch.stack([found[setting] for setting in settings]))
    return torch.cat(chunks, 1)


@dataclass(frozen=True, slots=True)
class Adapted:
    """A learner after the labels of one task: softmax(z . weights + bias) of embeddings z.

    theta: parameters of the head, moved. own: weight of the target's own features. weights
    (w, n_way), bias (n_way,): -inf for a class that no label names.
    """

    learner: Learner
    theta: Theta
    own: float
    weights: Tensor
    bias: Tensor

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Of raw rows (U, D), or of sequences (U, L, D + 1): (U, n_way)."""
        rows = _rows(self.learner, x)
        return _embed(self.learner.head, self.theta, self.own, rows) @ self.weights + self.bias


def adapt(
    learner: Learner, x: Tensor, labels: Tensor, n_way: int, setting: Setting, tau: float
) -> Adapted:
    """Adapt to raw rows (n, D), or sequences, with labels (n,) in [0, n_way): as `scores` does.

    Classes may have different numbers of rows; one without any is never answered.
    """
    rows = _Rows(*(part[None] for part in _rows(learner, x)))
    batch = _Batch(learner, rows, rows, labels[None], n_way, tau)
    if setting.start == "logistic":
        batch.begin(setting)
        z = batch.embed(batch.support)[0].numpy()
        found = weights_of(setting.rate, z, labels.numpy(), n_way)
        weights, bias = (torch.from_numpy(part).to(rows.x) for part in found)
    else:
        for _ in _descend(batch, setting):
            pass
        weights = batch.phi[0].detach() / tau
        bias = weights.new_zeros(n_way).masked_fill(~_named(labels, n_way), -torch.inf)
    moved = {name: value[0].detach() for name, value in batch.moved.items()}
    return Adapted(learner, {**learner.theta, **moved}, setting.own, weights, bias)


class _Rows(NamedTuple):
    """Rows of tasks: x (T, n, d) out of the front, unit rows own (T, n, d')."""

    x: Tensor
    own: Tensor


class _Batch:
    """Tasks that adapt together: support (T, n, d) with labels (T, n), query (T, q, d).

    Tasks share an optimizer but no parameter, and Adam is elementwise: each moves as if alone.
    """

    def __init__(
        self,
        learner: Learner,
        support: _Rows,
        query: _Rows,
        labels: Tensor,
        n_way: int,
        tau: float,
    ) -> None:
        n_tasks = len(labels)
        self.learner, self.labels, self.n_way, self.tau = learner, labels, n_way, tau
        self.support, self.query = support, query
        learned = learner.head.learns("target") if learner.head else ()
        self.start = {n: learner.theta[n].expand(n_tasks, *learner.theta[n].shape) for n in learned}
        self.moved: Theta = {}
        self.weight = 0.0
        self.phi = torch.empty(0)

    def begin(self, setting: Setting) -> None:
        """Give every task its head's parameters and phi (T, w, n_way)."""
        self.moved = {name: value.clone() for name, value in self.start.items()}
        self.weight = setting.own
        if setting.start == "meta":
            self.phi = self.learner.theta["phi"].repeat(len(self.labels), 1, 1)
        else:
            self.phi = prototypes(self.embed(self.support), self.labels, self.n_way)

    def loss(self) -> Tensor:
        """Sum over tasks of the mean cross-entropy of their supports."""
        logits = self.embed(self.support) @ self.phi / self.tau
        total = F.cross_entropy(logits.flatten(0, 1), self.labels.flatten(), reduction="sum")
        return total / self.labels.shape[1]

    @torch.no_grad()
    def score(self) -> Tensor:
        """Scores of the queries, (T, n_way * q, n_way); -inf for a class that no label names."""
        named = _named(self.labels, self.n_way).unsqueeze(1)  # (T, 1, n_way)
        return (self.embed(self.query) @ self.phi).masked_fill(~named, -torch.inf)

    @torch.no_grad()
    def logistic(self, setting: Setting) -> Tensor:
        """Scores of the queries by logistic regression on the support's embeddings."""
        self.begin(setting)
        parts = self.embed(self.support).numpy(), self.labels.numpy(), self.embed(self.query)
        found = [
            decision("logistic", setting.rate, x, y, q.numpy(), self.n_way)
            for x, y, q in zip(*parts, strict=True)
        ]
        return torch.from_numpy(np.stack(found)).to(self.query.x)

    def embed(self, rows: _Rows) -> Tensor:
        """z (T, n, w) of rows, by each task's own head."""
        theta = {**self.learner.theta, **self.moved}
        return _embed(self.learner.head, theta, self.weight, rows)


def _rows(learner: Learner, x: Tensor) -> _Rows:
    """What a learner makes of raw rows (U, D) before its head: (U, d), (U, d')."""
    mapped = learner.front(x)
    own = F.normalize(learner.own(x), dim=-1) if learner.own else mapped.new_empty(len(x), 0)
    return _Rows(mapped, own)


def _embed(head: Head | None, theta: Theta, own: float, rows: _Rows) -> Tensor:
    x = project(head, theta, "target", rows.x) if head else rows.x
    z = F.normalize(x, dim=-1)
    return F.normalize(torch.cat([z, own * rows.own], -1), dim=-1) if own else z


def _named(labels: Tensor, n_way: int) -> Tensor:
    """Whether labels (..., n) name each class, (..., n_way)."""
    return F.one_hot(labels, n_way).any(-2)


def _trajectory(batch: _Batch, wanted: Sequence[Setting]) -> dict[Setting, Tensor]:
    """Descend once, scoring at each wanted number of steps; settings differ in nothing else."""
    found: dict[Setting, Tensor] = {}
    for step in _descend(batch, max(wanted, key=lambda setting: setting.n_steps)):
        found |= {s: batch.score() for s in wanted if s.n_steps == step}
    return found


def _descend(batch: _Batch, setting: Setting) -> Iterator[int]:
    """Take a setting's Adam steps; yields the number of steps taken, from 0 on."""
    batch.begin(setting)
    leaves = [p.requires_grad_() for p in (*batch.moved.values(), batch.phi)]
    optimizer = torch.optim.Adam(leaves, lr=setting.rate, fused=True)
    for step in range(setting.n_steps):
        yield step
        optimizer.zero_grad()
        batch.loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    yield setting.n_steps
