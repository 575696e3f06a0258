"""Meta-test: settings from meta-validation, then accuracy on the frozen test tasks, once."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xmg.engine.compute import flushed_denormals, one_blas_thread
from xmg.engine.config import Config
from xmg.engine.data.tasks import Tasks, selection_tasks, test_tasks
from xmg.engine.data.views import MetaTest, MetaValidation
from xmg.engine.learner import Classifier, Learner, accuracies

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One system at one shot count: accuracies in [0, 1] of each task, for each repeat."""

    system: str
    shots: int
    tasks: tuple[tuple[float, ...], ...]  # (n_repeats, n_tasks)
    setting: Mapping[str, Any]  # what meta-validation chose

    @property
    def accuracies(self) -> tuple[float, ...]:
        """Of each repeat, over its tasks."""
        return tuple(statistics.fmean(row) for row in self.tasks)

    @property
    def mean(self) -> float:
        """Mean over repeats."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Standard deviation over repeats, with n - 1; 0 for a single repeat."""
        return statistics.stdev(self.accuracies) if len(self.tasks) > 1 else 0.0


Candidates = Sequence[Classifier]


@flushed_denormals()
@one_blas_thread()
def evaluate(
    systems: Mapping[str, Candidates],
    validation: MetaValidation,
    test: MetaTest,
    config: Config,
    shots: Sequence[int],
    progress: Progress | None = None,
) -> list[Result]:
    """Evaluate every system on the same episodes, by system, then by shots.

    Of its candidates and their settings, meta-validation chooses for each shot count.
    progress(done, total) is called after each result.
    """
    results: list[Result] = []
    seen, unseen = selection_tasks(validation, config, shots), test_tasks(test, config, shots)
    for name, candidates in systems.items():
        for k in shots:
            i, setting = select(candidates, seen[k], config.tau)
            found = accuracies(candidates[i], unseen[k], [setting], config.tau)[0]
            rows = found.reshape(config.n_repeats, config.n_tasks).tolist()
            chosen = {**setting._asdict(), **({"candidate": i} if len(candidates) > 1 else {})}
            results.append(Result(name, k, tuple(map(tuple, rows)), chosen))
            if progress:
                progress(len(results), len(systems) * len(shots))
    return results


def select(candidates: Candidates, validation: Tasks, tau: float) -> tuple[int, Any]:
    """Choose a candidate and its setting on meta-validation tasks.

    The plainest that is within one standard error of the best (Breiman, Friedman, Olshen, Stone,
    1984): of the differences on the same tasks, as those differ more than settings do.
    """
    choices = [(i, s) for i, c in enumerate(candidates) for s in c.settings()]
    if len(choices) == 1:
        return choices[0]
    found = np.concatenate(
        [accuracies(c, validation, c.settings(), tau).numpy() for c in candidates]
    )  # (choices, E)
    return choices[plainest(found)]


def plainest(found: npt.NDArray[np.floating[Any]]) -> int:
    """Which row of accuracies (choices, E) is the first within one standard error of the best."""
    behind = found[found.mean(1).argmax()] - found  # by task
    error = behind.std(1, ddof=1) / behind.shape[1] ** 0.5 if behind.shape[1] > 1 else 0.0
    return int(np.argmax(behind.mean(1) <= error))


def validation_accuracy(classifier: Learner, validation: Mapping[int, Tasks], tau: float) -> float:
    """Nearest class mean on the meta-validation tasks, mean over shot counts.

    For each count with the weight of own features that serves best there.
    """
    means = [s for s in classifier.settings() if s.start == "class-means" and not s.n_steps]
    found = [accuracies(classifier, t, means, tau).mean(1).max() for t in validation.values()]
    return float(sum(found) / len(found))
