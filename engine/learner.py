"""A few-shot learner at meta-test: how it starts, and how it moves on k labels per class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.heads import Head, Theta, project, prototypes
from xmg.engine.linear_probe import decision
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
OWN = (2.0, 1.0, 0.5, 0.0)  # leaning on them is plainest: alignment has to show its worth
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


def _scores(learner: Learner, tasks: Tasks, settings: Sequence[Setting], tau: float) -> Tensor:
    """A task's own head and phi take n_steps Adam steps on the cross-entropy of its support."""
    x = learner.front(tasks.x)  # (U, d)
    own = F.normalize(learner.own(tasks.x), dim=-1) if learner.own else x.new_empty(len(x), 0)
    support, query = tasks.locate(tasks.support), tasks.locate(tasks.query)
    labels = tasks.support_labels
    chunks = []
    for i in range(0, len(support), _CHUNK):
        part = slice(i, i + _CHUNK)
        of_support, of_query = (_Rows(x[i], own[i]) for i in (support[part], query[part]))
        batch = _Batch(learner, of_support, of_query, labels[part], tau)
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


class _Rows(NamedTuple):
    """Rows of tasks: x (T, ..., d) out of the front, unit rows own (T, ..., d')."""

    x: Tensor
    own: Tensor


class _Batch:
    """Tasks that adapt together: support (T, n_way, k, d), query (T, n_way, q, d).

    Tasks share an optimizer but no parameter, and Adam is elementwise: each moves as if alone.
    """

    def __init__(
        self, learner: Learner, support: _Rows, query: _Rows, labels: Tensor, tau: float
    ) -> None:
        n_tasks, self.n_way = support.x.shape[:2]
        self.learner, self.labels, self.tau = learner, labels, tau
        self.support, self.query = (_Rows(*(v.flatten(1, 2) for v in r)) for r in (support, query))
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
            self.phi = prototypes(self._embed(self.support), self.labels, self.n_way)

    def loss(self) -> Tensor:
        """Sum over tasks of the mean cross-entropy of their supports."""
        logits = self._embed(self.support) @ self.phi / self.tau
        total = F.cross_entropy(logits.flatten(0, 1), self.labels.flatten(), reduction="sum")
        return total / self.labels.shape[1]

    @torch.no_grad()
    def score(self) -> Tensor:
        """Scores of the queries, (T, n_way * q, n_way); -inf for a class that no label names."""
        named = F.one_hot(self.labels, self.n_way).any(1, keepdim=True)  # (T, 1, n_way)
        return (self._embed(self.query) @ self.phi).masked_fill(~named, -torch.inf)

    @torch.no_grad()
    def logistic(self, setting: Setting) -> Tensor:
        """Scores of the queries by logistic regression on the support's embeddings."""
        self.begin(setting)
        parts = self._embed(self.support).numpy(), self.labels.numpy(), self._embed(self.query)
        found = [
            decision("logistic", setting.rate, x, y, q.numpy(), self.n_way)
            for x, y, q in zip(*parts, strict=True)
        ]
        return torch.from_numpy(np.stack(found)).to(self.query.x)

    def _embed(self, rows: _Rows) -> Tensor:
        x = rows.x
        if self.learner.head:
            x = project(self.learner.head, {**self.learner.theta, **self.moved}, "target", x)
        z = F.normalize(x, dim=-1)
        return F.normalize(torch.cat([z, self.weight * rows.own], -1), dim=-1) if self.weight else z


def _trajectory(batch: _Batch, wanted: Sequence[Setting]) -> dict[Setting, Tensor]:
    """Descend once, scoring at each wanted number of steps; settings differ in nothing else."""
    batch.begin(wanted[0])
    leaves = [p.requires_grad_() for p in (*batch.moved.values(), batch.phi)]
    optimizer = torch.optim.Adam(leaves, lr=wanted[0].rate, fused=True)
    found: dict[Setting, Tensor] = {}
    last = max(setting.n_steps for setting in wanted)
    for step in range(last + 1):
        found |= {s: batch.score() for s in wanted if s.n_steps == step}
        if step < last:
            optimizer.zero_grad()
            batch.loss().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return found
