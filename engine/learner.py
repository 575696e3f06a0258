"""A few-shot learner at meta-test: how it starts, and how it moves on k labels per class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.compute import one_thread_each
from xmg.engine.data.tasks import Tasks
from xmg.engine.inner.choose import SOLVERS, solver_of
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.losses.objectives import Classification
from xmg.engine.model.heads import Head, Theta, project, prototypes
from xmg.engine.model.linear_probe import decision, weights_of

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
_CHUNK = 40  # tasks whose moved heads are held at once; bounds memory
_ROWS = 512  # embedded at once; bounds memory where they are sequences


@dataclass(frozen=True, slots=True)
class Learner:
    """z = unit([unit(head(front(x))), a unit(own(front(x)))]), classified by z . phi / tau.

    front: (U, D) -> (U, d), frozen. head: of the name "target", or None for the identity, frozen
    too. theta: its parameters, and phi (w, n_way), the classifier that `start="meta"` begins
    with, or no phi where only class means make sense. own: (U, d) -> (U, d'), frozen: what the
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
    weights, strengths = (OWN, STRENGTHS[:1]) if learner.own else ((0.0,), STRENGTHS)
    unmoved = [
        (CLASS_MEANS._replace(own=a), *(Setting("logistic", c, 0, a) for c in strengths))
        for a in weights
    ]
    return [*chain(*unmoved), *(Setting(s, r, STEPS) for s in starts for r in RATES)]


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
    parts = [_rows(learner, part) for part in torch.split(tasks.x, _ROWS)]
    rows = _Rows(*map(torch.cat, zip(*parts, strict=True)))
    support, query = (tasks.locate(part).flatten(1) for part in (tasks.support, tasks.query))
    labels, n_way = tasks.support_labels, tasks.support.shape[1]
    chunks = []
    for i in range(0, len(support), _CHUNK):
        part = slice(i, i + _CHUNK)
        batch = _Batch(learner, rows.of(support[part]), labels[part], n_way, tau)
        asked = rows.of(query[part])
        chunks.append(torch.stack([batch.scores(asked, setting) for setting in settings]))
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
        moved = replace(self.learner, theta={**self.learner.theta, **self.theta})
        return _beside(_rows(moved, x), self.own) @ self.weights + self.bias


def adapt(
    learner: Learner, x: Tensor, labels: Tensor, n_way: int, setting: Setting, tau: float
) -> Adapted:
    """Adapt to raw rows (n, D), or sequences, with labels (n,) in [0, n_way): as `scores` does.

    Classes may have different numbers of rows; one without any is never answered.
    """
    rows = _rows(learner, x).of(torch.arange(len(x))[None])
    batch = _Batch(learner, rows, labels[None], n_way, tau)
    batch.adapt(setting)
    if setting.start == "logistic":
        z = batch.embed(batch.support)[0].numpy()
        found = weights_of(setting.rate, z, labels.numpy(), n_way)
        weights, bias = (torch.from_numpy(part).to(rows.z) for part in found)
    else:
        weights = batch.phi[0].detach() / tau
        bias = weights.new_zeros(n_way).masked_fill(~_named(labels, n_way), -torch.inf)
    moved = {name: value[0].detach() for name, value in batch.moved.items()}
    return Adapted(learner, {**learner.theta, **moved}, setting.own, weights, bias)


class _Rows(NamedTuple):
    """Rows x (..., d) out of the front, their unit embeddings z (..., w) by the head as it starts,
    and unit rows own (..., d')."""

    x: Tensor
    z: Tensor
    own: Tensor

    def of(self, places: Tensor) -> "_Rows":
        """The rows at these places, with the shape of places in front."""
        return _Rows(*(part[places] for part in self))


class _Batch:
    """Tasks that adapt, each alone: support (T, n, d) with labels (T, n)."""

    def __init__(
        self, learner: Learner, support: _Rows, labels: Tensor, n_way: int, tau: float
    ) -> None:
        self.learner, self.support, self.labels = learner, support, labels
        self.n_way, self.tau = n_way, tau
        self.moved: Theta = {}  # each task's own parameters of the head, where these move
        self.weight = 0.0
        self.phi = torch.empty(0)  # (T, w, n_way)

    @torch.enable_grad()
    def adapt(self, setting: Setting) -> None:
        """Start as a setting says, and take its steps."""
        self.moved, self.weight = {}, setting.own
        if setting.start == "logistic":
            return
        if setting.start == "meta":
            self.phi = self.learner.theta["phi"].repeat(len(self.labels), 1, 1)
        else:
            self.phi = prototypes(self.embed(self.support), self.labels, self.n_way)
        if setting.n_steps:
            vectors = self.support.x.dim() == 3
            alone = self.learner.head and vectors and not setting.own
            (self._descend_each if alone else self._descend_together)(setting)

    @torch.no_grad()
    def scores(self, query: _Rows, setting: Setting) -> Tensor:
        """Scores of queries (T, q), (T, q, n_way); -inf for a class that no label names."""
        self.adapt(setting)
        z = self.embed(query)
        if setting.start != "logistic":
            named = _named(self.labels, self.n_way).unsqueeze(1)  # (T, 1, n_way)
            return (z @ self.phi).masked_fill(~named, -torch.inf)
        parts = (part.numpy() for part in (self.embed(self.support), self.labels, z))
        found = [
            decision("logistic", setting.rate, x, y, asked, self.n_way)
            for x, y, asked in zip(*parts, strict=True)
        ]
        return torch.from_numpy(np.stack(found)).to(query.x)

    def embed(self, rows: _Rows) -> Tensor:
        """z (T, n, w) of rows, by each task's own head."""
        if self.moved:
            theta = {**self.learner.theta, **self.moved}
            rows = rows._replace(z=_embed(self.learner.head, theta, rows.x))
        return _beside(rows, self.weight)

    def _descend_each(self, setting: Setting) -> None:
        """By the engine's solvers, which hold all of one task near and know no features of the
        target's own."""
        assert self.learner.head
        heads, optimizer = {"target": self.learner.head}, Optimizer("adam", setting.rate)
        n_tasks = len(self.labels)
        self.moved = {n: v.new_empty(n_tasks, *v.shape) for n, v in self._learned().items()}

        def run(e: int) -> None:
            labels = self.labels[e].expand(setting.n_steps, -1)
            objective = Classification(labels, self.tau, "target")
            phase = Phase(heads, {"target": self.support.x[e]}, {}, objective)
            theta = {**self.learner.theta, "phi": self.phi[e]}
            into = {n: v[e] for n, v in self.moved.items()}
            solver = SOLVERS[solver_of(phase, optimizer)]
            found, _ = solver(theta, phase, setting.n_steps, optimizer, into)
            for name, value in {**into, "phi": self.phi[e]}.items():
                value.copy_(found[name])

        with one_thread_each(n_tasks) as each:
            list(each(run, range(n_tasks)))

    def _descend_together(self, setting: Setting) -> None:
        """By autograd, which sequences keep busy only side by side. Tasks share an optimizer but no
        parameter, and Adam is elementwise: each moves as if alone."""
        n_tasks = len(self.labels)
        self.moved = {n: v.expand(n_tasks, *v.shape).clone() for n, v in self._learned().items()}
        leaves = [p.requires_grad_() for p in (*self.moved.values(), self.phi)]
        optimizer = torch.optim.Adam(leaves, lr=setting.rate, fused=True)
        for _ in range(setting.n_steps):
            optimizer.zero_grad()
            self._loss().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        for leaf in leaves:
            leaf.requires_grad_(False)

    def _loss(self) -> Tensor:
        """Sum over tasks of the mean cross-entropy of their supports."""
        logits = self.embed(self.support) @ self.phi / self.tau
        total = F.cross_entropy(logits.flatten(0, 1), self.labels.flatten(), reduction="sum")
        return total / self.labels.shape[1]

    def _learned(self) -> Theta:
        """Parameters of the head that move, before they do."""
        learns = self.learner.head.learns("target") if self.learner.head else ()
        return {name: self.learner.theta[name] for name in learns}


def _rows(learner: Learner, x: Tensor) -> _Rows:
    """What a learner makes of raw rows (U, D) before it adapts."""
    mapped = learner.front(x)
    z = _embed(learner.head, learner.theta, mapped)
    own = F.normalize(learner.own(mapped), dim=-1) if learner.own else z[:, :0]
    return _Rows(mapped, z, own)


def _embed(head: Head | None, theta: Theta, x: Tensor) -> Tensor:
    return F.normalize(project(head, theta, "target", x) if head else x, dim=-1)


def _beside(rows: _Rows, own: float) -> Tensor:
    """Embeddings with the target's own features beside them, of this weight."""
    return F.normalize(torch.cat([rows.z, own * rows.own], -1), dim=-1) if own else rows.z


def _named(labels: Tensor, n_way: int) -> Tensor:
    """Whether labels (..., n) name each class, (..., n_way)."""
    return F.one_hot(labels, n_way).any(-2)
