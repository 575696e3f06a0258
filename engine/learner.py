"""A few-shot learner at meta-test: how it starts, and how it moves on k labels per class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.heads import Head, Theta, class_means, project
from xmg.engine.tasks import Tasks

Start = Literal["class-means", "meta"]


@dataclass(frozen=True, slots=True)
class Learner:
    """z = unit(head(front(x))), classified by z . phi / tau.

    front: (U, D) -> (U, d), frozen. head: of the name "target", or None for the identity, frozen
    too. theta: its parameters, and phi (w, n_way), the classifier that `start="meta"` begins
    with, or no phi where only class means make sense.
    """

    front: Callable[[Tensor], Tensor]
    head: Head | None = None
    theta: Theta = field(default_factory=dict)


class Setting(NamedTuple):
    """How a learner adapts: where phi starts, the Adam rate, and how many steps."""

    start: Start
    rate: float
    n_steps: int


CLASS_MEANS = Setting("class-means", 0.0, 0)  # nearest class mean, no step at all
RATES = (1e-3, 1e-2)
STEPS = (10, 50)
_CHUNK = 40  # tasks adapted together; bounds memory


def settings_of(learner: Learner) -> list[Setting]:
    """The settings that selection compares, plainest first, the same for all that can move."""
    if learner.head is None:
        return [CLASS_MEANS]
    starts: tuple[Start, ...] = (
        ("class-means", "meta") if "phi" in learner.theta else ("class-means",)
    )
    return [CLASS_MEANS, *(Setting(s, r, n) for s in starts for r in RATES for n in STEPS)]


def accuracies(learner: Learner, tasks: Tasks, settings: Sequence[Setting], tau: float) -> Tensor:
    """Accuracy of each setting on each task, (len(settings), E) in [0, 1].

    A task's own head and phi take n_steps Adam steps on the cross-entropy of its support.
    """
    x = learner.front(tasks.x)  # (U, d)
    support, query = tasks.locate(tasks.support), tasks.locate(tasks.query)
    chunks = []
    for i in range(0, len(support), _CHUNK):
        s, q = x[support[i : i + _CHUNK]], x[query[i : i + _CHUNK]]
        found: dict[Setting, Tensor] = {}
        for start, rate in dict.fromkeys((s.start, s.rate) for s in settings):
            wanted = [s.n_steps for s in settings if (s.start, s.rate) == (start, rate)]
            found |= _trajectory(_Batch(learner, s, q, tau), start, rate, wanted)
        chunks.append(torch.stack([found[setting] for setting in settings]))
    return torch.cat(chunks, 1)


class _Batch:
    """Tasks that adapt together: support (T, n_way, k, d), query (T, n_way, q, d).

    Tasks share an optimizer but no parameter, and Adam is elementwise: each moves as if alone.
    """

    def __init__(self, learner: Learner, support: Tensor, query: Tensor, tau: float) -> None:
        n_tasks, self.n_way, self.k_shot = support.shape[:3]
        self.learner, self.tau = learner, tau
        self.support, self.query = support.flatten(1, 2), query.flatten(1, 2)
        self.support_labels = torch.arange(self.n_way).repeat_interleave(self.k_shot)
        self.query_labels = torch.arange(self.n_way).repeat_interleave(query.shape[2])
        learned = learner.head.learns("target") if learner.head else ()
        own = {name: learner.theta[name] for name in learned}
        self.own = {k: v.expand(n_tasks, *v.shape).clone() for k, v in own.items()}
        self.phi = torch.empty(0)

    def begin(self, start: Start) -> None:
        """Give every task its phi (T, w, n_way)."""
        n_tasks = len(self.support)
        if start == "meta":
            self.phi = self.learner.theta["phi"].repeat(n_tasks, 1, 1)
        else:
            z = self._embed(self.support)
            self.phi = class_means(z.reshape(n_tasks, self.n_way, self.k_shot, -1)).contiguous()

    def loss(self) -> Tensor:
        """Sum over tasks of the mean cross-entropy of their supports."""
        logits = self._embed(self.support) @ self.phi / self.tau
        labels = self.support_labels.repeat(len(logits))
        total = F.cross_entropy(logits.flatten(0, 1), labels, reduction="sum")
        return total / len(self.support_labels)

    @torch.no_grad()
    def score(self) -> Tensor:
        """Accuracy on the queries, (T,)."""
        predicted = (self._embed(self.query) @ self.phi).argmax(-1)
        return (predicted == self.query_labels).float().mean(1)

    def _embed(self, x: Tensor) -> Tensor:
        if self.learner.head:
            x = project(self.learner.head, {**self.learner.theta, **self.own}, "target", x)
        return F.normalize(x, dim=-1)


def _trajectory(
    batch: _Batch, start: Start, rate: float, wanted: Sequence[int]
) -> dict[Setting, Tensor]:
    """Descend once, scoring at each wanted number of steps."""
    batch.begin(start)
    leaves = [p.requires_grad_() for p in (*batch.own.values(), batch.phi)]
    optimizer = torch.optim.Adam(leaves, lr=rate, fused=True)
    found = {}
    for step in range(max(wanted) + 1):
        if step in wanted:
            found[Setting(start, rate, step)] = batch.score()
        if step < max(wanted):
            optimizer.zero_grad()
            batch.loss().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return found
