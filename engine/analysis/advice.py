"""Does alignment promise to help here? An answer before hours are spent on meta-training.

It reads meta-training and meta-validation alone. What it compares has a closed form: the target's
whitened class means, which need no pairs, and canonical directions of the pairs beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor

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
from xmg.engine.compute import flushed_denormals, one_blas_thread
from xmg.engine.config import Config
from xmg.engine.data.problem import open_problem
from xmg.engine.data.streams import Stream, generator
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.thinning import fewer_sets
from xmg.engine.data.views import MetaTrain, MetaValidation, TargetOnly
from xmg.engine.evaluate import plainest
from xmg.engine.learner import Classifier, Learner, Setting
from xmg.engine.methods import class_mean, maps
from xmg.engine.methods.system import learner, unlabelled
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.set_statistics import pair_statistics
from xmg.engine.training.starts import aligned as aligned_start

System = Literal["class-mean-whitened", "canonical", "croma"]
Progress = Callable[[int, int, str], None]

_LEAST_CLASSES = 3  # of an interval over classes
_HALVINGS = 4  # of the number of sets
_DRAWS = 2  # of fewer sets
_POINTS = 3  # of a fit
_STEPS = 5


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
    overall: Interval  # aligned - target alone, mean over shot counts
    adapted: Interval | None  # CROMA before training - aligned; None where that is no question

    @property
    def sure(self) -> bool:
        """Whether the interval of the overall difference leaves 0 out."""
        return self.overall.low > 0 or self.overall.high < 0

    @property
    def system(self) -> System:
        """The simplest row that no other one is clearly better than."""
        if self.overall.low <= 0:
            return "class-mean-whitened"
        return "croma" if self.adapted and self.adapted.low > 0 else "canonical"


@flushed_denormals()
@one_blas_thread()
def advise(config: Config, progress: Progress | None = None) -> Advice:
    """Compare, fit and advise on two feature files and their pairs; no meta-test row is read.

    Raises XmgError where the data cannot serve the tasks, and where classes or pairs are too few.
    """
    problem = open_problem(config)
    target = unlabelled(problem, config)
    tell = progress or (lambda done, total, note: None)
    return _advise(problem.train, target, problem.validation, config, tell)


def _advise(
    train: MetaTrain,
    target: TargetOnly,
    validation: MetaValidation,
    config: Config,
    progress: Progress,
) -> Advice:
    trial = _trial(validation, config)
    progress(0, _STEPS, "how alike the spaces are")
    alike = likeness(train, config)
    progress(1, _STEPS, "the target alone")
    curve = trial.measure(class_mean.whitened(target, config), list(trial.tasks))
    progress(2, _STEPS, "with all pairs")
    fronts, aligned = _aligned(train, trial)
    overall = interval((aligned - _at(curve, trial)).mean(0))
    progress(3, _STEPS, "with fewer pairs")
    errors = _errors_by_sets(train, fronts, trial, aligned)
    progress(4, _STEPS, "with CROMA's classifiers")
    adapted = _adapted(train, fronts, trial, aligned) if overall.low > 0 else None
    progress(_STEPS, _STEPS, "done")
    return Advice(
        likeness=alike,
        n_classes=curve.shape[1],
        n_tasks=len(trial.classes),
        n_way=config.n_way,
        n_sets=len(train.sets),
        curve=dict(zip(trial.tasks, curve.mean(1).tolist(), strict=True)),
        gains=_gains(trial, curve, aligned),
        labels_law=_law([config.n_way * k for k in trial.tasks], 1 - curve.mean(1)),
        sets_laws={
            k: _law(list(errors), np.array([e[i] for e in errors.values()]))
            for i, k in enumerate(config.shots)
        },
        overall=overall,
        adapted=adapted,
    )


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


def _trial(validation: MetaValidation, config: Config) -> _Trial:
    classes = validation.target.classes
    if len(classes) < _LEAST_CLASSES:
        raise XmgError(
            f"{len(classes)} classes are held out for meta-validation, and an interval over "
            f"classes takes {_LEAST_CLASSES}. fix: --n-way {_LEAST_CLASSES} "
            "with strong pairs; with concepts, more classes outside them or under validation"
        )
    tasks = curve_tasks(validation, config)
    return _Trial(tasks, class_numbers_of(next(iter(tasks.values())), classes), config)


def _aligned(train: MetaTrain, trial: _Trial) -> tuple[Fronts, Array]:
    """The aligned row's accuracy (shots, C), and the whitening that all tasks choose for it."""
    fitted = list(maps.fitted(train, trial.config))
    rows = [maps.canonical(fronts.target, pair, trial.config) for fronts, pair in fitted]
    candidates = [one for part in rows for one in part]
    chosen = trial.choose(candidates) // len(rows[0])
    return fitted[chosen][0], trial.measure(candidates, trial.config.shots)


def _adapted(train: MetaTrain, fronts: Fronts, trial: _Trial, aligned: Array) -> Interval | None:
    """What CROMA's classifiers add to the aligned row; None of sequences, whose heads start at
    random.

    Theirs are the heads that CROMA starts from: its best checkpoint may be the start.
    """
    if train.target.is_sequence or train.source.file.is_sequence:
        return None
    config = trial.config
    theta = aligned_start(train, fronts, config.model_copy(update={"start": "cca"}))
    begun = trial.measure([_Still(learner(theta, fronts, config))], config.shots)
    return interval((begun - aligned).mean(0))


@dataclass(frozen=True, slots=True)
class _Still:
    """A learner without the settings that take gradient steps, which would take minutes."""

    learner: Learner

    def settings(self) -> list[Setting]:
        """Class means and logistic regression."""
        return [one for one in self.learner.settings() if not one.n_steps]

    def scores(self, tasks: Tasks, settings: Sequence[Setting], tau: float) -> Tensor:
        """The learner's."""
        return self.learner.scores(tasks, settings, tau)


def _errors_by_sets(
    train: MetaTrain, fronts: Fronts, trial: _Trial, aligned: Array
) -> dict[int, Array]:
    """Error (shots,) of the aligned row by the number of sets that its pairs form.

    Whitening stays as it is with all rows, for it needs no pairs.
    """
    config, n = trial.config, len(train.sets)
    assert fronts.source
    errors = {n: 1 - aligned.mean(1)}
    for count in {round(n / 2**i) for i in range(1, _HALVINGS + 1)} - {0, 1, n}:
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


def _at(curve: Array, trial: _Trial) -> Array:
    """The curve (K, C) at the shot counts of the config, (shots, C)."""
    counts = list(trial.tasks)
    return curve[[counts.index(k) for k in trial.config.shots]]


def _gains(trial: _Trial, curve: Array, aligned: Array) -> list[Gain]:
    counts, config = list(trial.tasks), trial.config
    weights = resampled(curve.shape[1], generator(config.seed, Stream.ADVICE))  # (B, C)
    gains = []
    for k, alone, row in zip(config.shots, _at(curve, trial), aligned, strict=True):
        worth = labels_worth(counts, curve.mean(1), row.mean(), k)
        draws = labels_worth(counts, weights @ curve.T, weights @ row, k)
        means = float(alone.mean()), float(row.mean())
        found = interval(row - alone), worth_interval(worth, draws)
        gains.append(Gain(k, *means, *found, counts[-1] - k))
    return gains


def _law(x: Sequence[int], error: Array) -> Law | None:
    return fit_law(x, error.tolist()) if len(x) >= _POINTS else None
