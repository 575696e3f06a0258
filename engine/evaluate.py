"""Meta-test: settings from meta-validation, then accuracy on the frozen test tasks, once."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from xmg.engine.compute import flushed_denormals
from xmg.engine.config import Config
from xmg.engine.learner import CLASS_MEANS, Learner, Setting, accuracies, settings_of
from xmg.engine.methods import class_mean, pretraining
from xmg.engine.problem import MetaTest, MetaValidation
from xmg.engine.tasks import Tasks, test_tasks, validation_tasks
from xmg.engine.whitening import Whitening

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Result:
    """One system at one shot count: an accuracy in [0, 1] for each repeat, over all tasks."""

    system: str
    shots: int
    accuracies: tuple[float, ...]  # (n_repeats,)
    setting: Setting

    @property
    def mean(self) -> float:
        """Mean over repeats."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Standard deviation over repeats, with n - 1; 0 for a single repeat."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def without_pairs(front: Whitening, config: Config) -> dict[str, Learner]:
    """The rows that show what the pairs are worth: none of them sees the source."""
    return {
        "pre-training": pretraining.pretraining(front.matrix.shape[0], config, front.frames),
        "class mean, raw": class_mean.raw(front.frames),
        "class mean, whitened": class_mean.whitened(front),
    }


@flushed_denormals()
def evaluate(
    learners: Mapping[str, Learner],
    validation: MetaValidation,
    test: MetaTest,
    config: Config,
    shots: Sequence[int],
    progress: Progress | None = None,
) -> list[Result]:
    """Evaluate every learner on the same episodes, by learner, then by shots.

    progress(done, total) is called after each result.
    """
    results: list[Result] = []
    seen, unseen = validation_tasks(validation, config, shots), test_tasks(test, config, shots)
    for name, learner in learners.items():
        for k in shots:
            setting = select(learner, seen[k], config.tau)
            found = accuracies(learner, unseen[k], [setting], config.tau)[0]
            repeats = found.reshape(config.n_repeats, config.n_tasks).mean(1)
            results.append(Result(name, k, tuple(repeats.tolist()), setting))
            if progress:
                progress(len(results), len(learners) * len(shots))
    return results


def select(learner: Learner, validation: Tasks, tau: float) -> Setting:
    """The setting of highest mean accuracy on meta-validation; of equals the plainest."""
    settings = settings_of(learner)
    if len(settings) == 1:
        return settings[0]
    means = accuracies(learner, validation, settings, tau).mean(1)
    return settings[int(means.argmax())]


def validation_accuracy(learner: Learner, validation: Mapping[int, Tasks], tau: float) -> float:
    """Nearest class mean on the meta-validation tasks, mean over shot counts."""
    found = [accuracies(learner, t, [CLASS_MEANS], tau).mean() for t in validation.values()]
    return float(sum(found) / len(found))
