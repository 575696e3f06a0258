"""Settings, probabilities and prediction sets for tasks of a given size, from classes held out."""

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from xmg.cache import XmgError
from xmg.engine.compute import flushed_denormals, one_blas_thread
from xmg.engine.data.pool import Pool, with_at_least
from xmg.engine.data.tasks import Tasks, validation_tasks
from xmg.engine.data.views import MetaValidation
from xmg.engine.evaluate import select
from xmg.engine.learner import Learner, Setting, logits_of
from xmg.engine.predict.model import Model

N_TASKS: Final = 200  # to calibrate on
_COOLEST, _HOTTEST = 0.02, 50.0  # bounds of the temperature
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model answers tasks of n_way classes with about k_shot labels each.

    n_way, k_shot: of the tasks that served, as near to those asked for as the held-out classes
    allow. misfits: 1 - p of the true class of each of their queries, ascending. accuracy: of their
    queries, before anything is known of the new classes; std_error: of that, over tasks.
    n_classes: held out, that the tasks are drawn from.
    """

    setting: Setting
    temperature: float
    n_way: int
    k_shot: int
    n_tasks: int
    accuracy: float
    std_error: float
    n_classes: int
    misfits: Array

    def probabilities(self, logits: Tensor) -> Tensor:
        """softmax(logits / T) of (n, n_way) logits."""
        return (logits / self.temperature).softmax(-1)

    def threshold(self, coverage: float) -> float:
        """Largest 1 - p of a class that a prediction set holds.

        Split conformal prediction with tasks as the unit (Fisch, Schuster, Jaakkola, Barzilay,
        "Few-shot conformal prediction with auxiliary tasks", ICML 2021; pooled as in Dunn,
        Wasserman, Ramdas, JASA 2023): the ceil((E + 1) coverage) / E quantile of the misfits of E
        tasks. Of tasks drawn as those were, sets hold the true class that often on average;
        held-out classes are few, and stand for all others: where they err less than
        `least_mistakes`, a share of misfits is taken for 1 that makes up for it.
        """
        unseen = max(0.0, least_mistakes(self.n_classes) - (1 - self.accuracy))
        level = math.ceil((self.n_tasks + 1) * coverage / (1 - unseen)) / self.n_tasks
        if level > 1:
            return 1.0
        return float(np.quantile(self.misfits, level, method="higher"))

    def sets(self, probabilities: Tensor, coverage: float) -> Tensor:
        """Whether each class belongs to the prediction set, (n, n_way); the likeliest always."""
        held = 1 - probabilities <= self.threshold(coverage)
        return held.scatter(-1, probabilities.argmax(-1, keepdim=True), True)


_tuned: WeakKeyDictionary[Model, dict[tuple[int, int, int], Tuning]] = WeakKeyDictionary()


def check_coverage(coverage: float) -> None:
    """Raise XmgError unless a coverage lies between 0 and 1, ValueError where it is no number."""
    if not isinstance(coverage, Real):
        raise ValueError(f"coverage = {coverage!r} is no number; a share such as 0.9 is wanted")
    if not 0 < coverage < 1:
        raise XmgError(f"coverage = {coverage:g} is no share between 0 and 1. fix: such as 0.9")


def tune(model: Model, n_way: int, k_shot: int, n_tasks: int = N_TASKS) -> Tuning:
    """Choose a setting and calibrate it on tasks of the model's meta-validation classes.

    The setting is what `xmg evaluate` would choose, by the same tasks, and so is the temperature:
    see `fit_temperature`. Misfits and accuracy are of other tasks. A model is tuned once for each
    size of tasks.
    """
    known = _tuned.setdefault(model, {})
    if (n_way, k_shot, n_tasks) not in known:
        known[n_way, k_shot, n_tasks] = _tune(model, n_way, k_shot, n_tasks)
    return known[n_way, k_shot, n_tasks]


@flushed_denormals()
@one_blas_thread()
def _tune(model: Model, n_way: int, k_shot: int, n_tasks: int) -> Tuning:
    choosing, calibrating = _tasks(model, n_way, k_shot, n_tasks)
    learner, tau = model.learner_for(n_way, choosing.support.shape[1]), model.config.tau
    setting: Setting = select([learner], choosing, tau)[1]
    seen = _logits(learner, choosing, setting, tau)  # (E, n, n_way)
    answers = choosing.query_labels.repeat(len(seen))
    n_classes = len({name for task in choosing.names for name in task})
    temperature = fit_temperature(seen.flatten(0, 1), answers, n_classes)
    logits = _logits(learner, calibrating, setting, tau)
    truth = calibrating.query_labels.expand(logits.shape[:2])
    p = (logits / temperature).softmax(-1).gather(-1, truth.unsqueeze(-1))
    right = (logits.argmax(-1) == truth).double().mean(-1)  # (E,)
    return Tuning(
        setting,
        temperature,
        calibrating.support.shape[1],
        calibrating.support.shape[2],
        len(right),
        float(right.mean()),
        float(right.std() / len(right) ** 0.5),
        n_classes,
        np.sort(1 - p.double().flatten().numpy()),
    )


def least_mistakes(n_classes: int) -> float:
    """1 / (2 n + 2), the least share of mistakes to expect of new classes after n seen.

    The rule of succession (Laplace, 1774) says (m + 1/2) / (n + 1) after m mistakes in n trials,
    with Jeffreys' prior (Krichevsky, Trofimov, IEEE Trans. Inf. Theory 27, 1981); here m = 0. A
    class is one trial, however many rows or tasks it has: new classes are what is unknown.
    """
    return 1 / (2 * n_classes + 2)


def fit_temperature(logits: Tensor, labels: Tensor, n_classes: int) -> float:
    """The T that calibrates softmax(logits / T) of labels (n,), which are of n_classes held out.

    That of the least mean negative log-likelihood (Guo, Pleiss, Sun, Weinberger, ICML 2017); yet
    none so low that the mean probability of the likeliest passes 1 - `least_mistakes`: without
    mistakes likelihood alone would have T vanish, and be certain.
    """
    logits = logits.double()
    most = 1 - least_mistakes(n_classes)

    def loss(log_t: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits / math.exp(log_t), labels))

    def excess(log_t: float) -> float:
        return float((logits / math.exp(log_t)).softmax(-1).amax(-1).mean()) - most

    bounds = math.log(_COOLEST), math.log(_HOTTEST)
    best = float(minimize_scalar(loss, bounds=bounds, method="bounded").x)
    if excess(best) > 0:
        bounds = best, bounds[1]
        best = float(minimize_scalar(lambda t: abs(excess(t)), bounds=bounds, method="bounded").x)
    return math.exp(best)


def _tasks(model: Model, n_way: int, k_shot: int, n_tasks: int) -> tuple[Tasks, Tasks]:
    """Tasks to choose by, those of xmg evaluate where it draws such, and tasks to calibrate on."""
    config = model.config
    pool, n_way, k, n_query = _shape(model.validation, n_way, k_shot, config.n_query)
    alike = k in config.shots and pool.sizes.min() >= max(config.shots) + n_query
    sized = config.model_copy(
        update={
            "n_way": n_way, "n_query": n_query, "label_noise": 0.0,
            "shots": config.shots if alike else (k,),
            "n_validation": config.n_selection + n_tasks,
        }
    )  # fmt: skip
    while True:
        try:
            whole = validation_tasks(MetaValidation(pool), sized, [k])[k]
            break
        except XmgError:  # too few recordings for so many shots
            if max(sized.shots) == 1:
                raise
            k = k if max(sized.shots) > k else k // 2
            sized = sized.model_copy(update={"shots": (k,)})
    first = config.n_selection
    return _part(whole, slice(None, first)), _part(whole, slice(first, None))


def _shape(pool: Pool, n_way: int, k: int, n_query: int) -> tuple[Pool, int, int, int]:
    """The classes that have rows enough, and the n_way, k and n_query nearest to those wanted."""
    n_way = min(n_way, len(pool.classes))
    size = int(np.sort(pool.sizes)[-n_way])  # that n_way classes have
    n_query = min(n_query, max(1, size - k))
    k = max(1, min(k, size - n_query))
    return with_at_least(pool, k + n_query), n_way, k, n_query


def _part(tasks: Tasks, part: slice) -> Tasks:
    return replace(
        tasks, support=tasks.support[part], query=tasks.query[part], names=tasks.names[part]
    )


def _logits(learner: Learner, tasks: Tasks, setting: Setting, tau: float) -> Tensor:
    return logits_of(learner.scores(tasks, [setting], tau)[0], setting, tau)
