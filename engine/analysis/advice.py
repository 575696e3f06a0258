"""Does alignment promise to help here? An answer before hours are spent on meta-training.

It reads meta-training and meta-validation alone. What it compares has a closed form: the target's
whitened class means, which need no pairs, and canonical directions of the pairs beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from xmg.cache import XmgError
from xmg.cache.pairs import Rows
from xmg.engine.analysis.heldout import (
    Array,
    Interval,
    class_numbers_of,
    cross_fitted,
    curve_tasks,
    interval,
    resampled,
    right,
)
from xmg.engine.analysis.similarity import Likeness, likeness
from xmg.engine.analysis.tradeoff import Law, fit_law, labels_worth, worth_interval
from xmg.engine.compute import flushed_denormals
from xmg.engine.config import Config
from xmg.engine.evaluate import plainest
from xmg.engine.fronts import Fronts
from xmg.engine.learner import Classifier
from xmg.engine.methods import class_mean, maps
from xmg.engine.methods.system import unlabelled
from xmg.engine.problem import open_problem
from xmg.engine.set_statistics import pair_statistics
from xmg.engine.streams import Stream, generator
from xmg.engine.tasks import Tasks
from xmg.engine.thinning import fewer_sets
from xmg.engine.views import MetaTrain, MetaValidation, TargetOnly

System = Literal["class-mean-whitened", "canonical", "croma"]
Progress = Callable[[int, int, str], None]

_LEAST_CLASSES = 3  # of an interval over classes
_HALVINGS = 4  # of the number of sets
_DRAWS = 2  # of fewer sets
_POINTS = 3  # of a fit


@dataclass(frozen=True, slots=True)
class Gain:
    """Of one shot count: accuracies in [0, 1], their difference, and what it is worth in labels.

    worth: further labels per class that the target alone would need; up to `most` the curve says,
    and infinite is more than that.
    """

    shots: int
    target_only: float
    aligned: float
    difference: Interval
    worth: Interval
    most: int


@dataclass(frozen=True, slots=True)
class Advice:
    """What `advise` finds; intervals are over the held-out classes."""

    likeness: Likeness
    n_classes: int
    n_tasks: int
    n_way: int
    n_sets: int
    curve: Mapping[int, float]  # accuracy of the target alone by labels per class
    gains: Sequence[Gain]
    labels_law: Law | None
    sets_laws: Mapping[int, Law | None]  # by shots; None where the sets are too few
    overall: Interval  # difference, mean over shot counts
    system: System

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.overall.low > 0 or self.overall.high < 0


@flushed_denormals()
def advise(config: Config, progress: Progress | None = None) -> Advice:
    """Compare, fit and advise on two feature files and their pairs; no meta-test row is read.

    Raises XmgError where the data cannot serve the tasks, and where classes or pairs are too few.
    """
    problem = open_problem(config)
    target = unlabelled(problem, config)
    return _advise(problem.train, target, problem.validation, config, progress or _silent)


def _silent(done: int, total: int, note: str) -> None:
    pass


def _advise(
    train: MetaTrain,
    target: TargetOnly,
    validation: MetaValidation,
    config: Config,
    progress: Progress,
) -> Advice:
    classes = validation.target.classes
    if len(classes) < _LEAST_CLASSES:
        raise XmgError(
            f"{len(classes)} classes are held out for meta-validation, and an interval over "
            f"classes takes {_LEAST_CLASSES}. fix: give the split more classes"
        )
    progress(0, 4, "how alike the spaces are")
    alike = likeness(train, config)
    tasks = curve_tasks(validation, config)
    trial = _Trial(tasks, class_numbers_of(next(iter(tasks.values())), classes), config)
    progress(1, 4, "the target alone")
    curve = trial.measure(class_mean.whitened(target, config), list(tasks))
    progress(2, 4, "with all pairs")
    fitted = list(maps.fitted(train, config))
    candidates = [maps.canonical(fronts.target, pair, config) for fronts, pair in fitted]
    aligned = trial.measure([c for part in candidates for c in part], config.shots)
    progress(3, 4, "with fewer pairs")
    chosen = trial.choose([c for part in candidates for c in part]) // len(candidates[0])
    errors = _errors_by_sets(train, fitted[chosen][0], trial, {len(train.sets): aligned})
    progress(4, 4, "done")
    return _concluded(alike, trial, curve, aligned, errors, config)


@dataclass(frozen=True, slots=True)
class _Trial:
    """The held-out tasks of all shot counts, which have the same classes (E, n_way)."""

    tasks: Mapping[int, Tasks]
    classes: Rows
    config: Config

    def measure(self, candidates: Sequence[Classifier], shots: Sequence[int]) -> Array:
        """Accuracy of each class, (shots, C), of settings chosen apart from it."""
        found = [right(candidates, self.tasks[k], self.config.tau) for k in shots]
        values = np.stack([cross_fitted(one, self.classes) for one in found])
        return values[:, ~np.isnan(values[0])]

    def choose(self, candidates: Sequence[Classifier]) -> int:
        """The candidate that all tasks of all shot counts choose."""
        found = [right(candidates, self.tasks[k], self.config.tau) for k in self.config.shots]
        return plainest(np.mean(found, axis=(0, 3)))


def _errors_by_sets(
    train: MetaTrain, fronts: Fronts, trial: _Trial, known: dict[int, Array]
) -> dict[int, Array]:
    """Error (shots,) of the aligned row by the number of sets that its pairs form.

    Whitening stays as it is with all rows, for it needs no pairs.
    """
    config, n = trial.config, len(train.sets)
    assert fronts.source
    errors = {n: 1 - values.mean(1) for n, values in known.items()}
    for count in sorted({round(n / 2**i) for i in range(1, _HALVINGS + 1)} - {0, 1, n}):
        found = []
        for draw in range(_DRAWS):
            seed = config.seed + draw * 2**32
            thin = config.model_copy(update={"n_train_sets": count, "seed": seed})
            part = replace(train, sets=fewer_sets(train.sets, thin))
            pair = pair_statistics(part, fronts.source, fronts.target)
            row = maps.canonical(fronts.target, pair, config)
            found.append(1 - trial.measure(row, config.shots).mean(1))
        errors[count] = np.mean(found, axis=0)
    return dict(sorted(errors.items()))


def _concluded(
    alike: Likeness,
    trial: _Trial,
    curve: Array,
    aligned: Array,
    errors: dict[int, Array],
    config: Config,
) -> Advice:
    counts = list(trial.tasks)
    weights = resampled(curve.shape[1], generator(config.seed, Stream.ADVICE))
    draws = weights @ curve.T  # (B, K)
    gains = []
    for i, k in enumerate(config.shots):
        alone = curve[counts.index(k)]
        worth = labels_worth(counts, curve.mean(1), aligned[i].mean(), k)
        worths = labels_worth(counts, draws, weights @ aligned[i], k)
        gains.append(
            Gain(
                k,
                float(alone.mean()),
                float(aligned[i].mean()),
                interval(aligned[i] - alone),
                worth_interval(worth, worths),
                counts[-1] - k,
            )
        )
    overall = interval((aligned - curve[[counts.index(k) for k in config.shots]]).mean(0))
    labels = [config.n_way * k for k in counts]
    return Advice(
        likeness=alike,
        n_classes=curve.shape[1],
        n_tasks=len(trial.classes),
        n_way=config.n_way,
        n_sets=max(errors),
        curve=dict(zip(counts, curve.mean(1).tolist(), strict=True)),
        gains=gains,
        labels_law=_law(labels, 1 - curve.mean(1)),
        sets_laws={
            k: _law(list(errors), np.array([e[i] for e in errors.values()]))
            for i, k in enumerate(config.shots)
        },
        overall=overall,
        system="canonical" if overall.low > 0 else "class-mean-whitened",
    )


def _law(x: Sequence[int], error: Array) -> Law | None:
    return fit_law(x, error.tolist()) if len(x) >= _POINTS else None
