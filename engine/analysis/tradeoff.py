"""What pairs are worth in target labels: measured on a curve, and by the law of appendix B."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from xmg.engine.analysis.heldout import Interval

Array = npt.NDArray[np.floating[Any]]

_DESCRIBED = 0.9  # R^2 from which the law is said to describe the errors


class Law(NamedTuple):
    """A fit of err(x) = floor + c / x: see `fit_law`."""

    floor: float
    c: float
    rms: float  # residual, in accuracy
    r2: float
    slope: float  # of log err against log x, which is -1 where the law holds without a floor
    x: tuple[float, ...]
    error: tuple[float, ...]

    @property
    def describes(self) -> bool:
        """Whether the law describes the errors: they fall, and c / x explains 90% of how."""
        return self.c > 0 and self.r2 >= _DESCRIBED

    def at(self, x: float) -> float:
        """The error that the law gives."""
        return self.floor + self.c / x


def fit_law(x: Sequence[float], error: Sequence[float]) -> Law:
    """Fit err(x) = floor + c / x with floor, c >= 0, by least squares; three points at least.

    x: sets of pairs S, or labels N_t. Appendix B of the CROMA paper (arXiv:2012.02813) has errors
    c_s / S and c_t / N_t. These vanish, and measured ones do not: the floor is what stays.
    """
    xs, ys = np.asarray(x, float), np.asarray(error, float)
    design = np.stack([np.ones_like(xs), 1 / xs], 1)
    (floor, c), norm = nnls(design, ys)
    spread = float(np.square(ys - ys.mean()).sum())
    r2 = 1 - norm**2 / spread if spread > 0 else 0.0
    slope = np.polyfit(np.log(xs), np.log(np.maximum(ys, 1e-6)), 1)[0]
    rms = float(norm / len(xs) ** 0.5)
    return Law(
        float(floor), float(c), rms, float(r2), float(slope), tuple(xs.tolist()), tuple(ys.tolist())
    )


def break_even(sets: Law, labels: Law, n_sets: float) -> float:
    """Labels N_t at which direct supervision makes the error of alignment by n_sets sets.

    N_t = c_t / (floor_s + c_s / S - floor_t), with floors of 0 c_t S / c_s: fewer labels than that,
    and alignment is better. Infinite where the labels' law never comes so low.
    """
    left = sets.at(n_sets) - labels.floor
    return labels.c / left if left > 0 else float("inf")


def labels_worth(counts: Sequence[int], curve: Array, aligned: Array, shots: int) -> Array:
    """Further labels per class with which the target alone reaches the aligned accuracy.

    curve (..., K): accuracy of the target alone with counts (K,) labels per class, which counts as
    never falling; aligned (...,): of the aligned row with `shots`. Linear between counts in log k.
    0 where the target alone is no worse, infinite beyond the curve.
    """
    logs = np.log(np.asarray(counts, float))
    rising = np.maximum.accumulate(curve, axis=-1)
    flat = rising.reshape(-1, len(counts))
    goals = np.ravel(aligned).tolist()
    found = [_reached(logs, row, goal) for row, goal in zip(flat, goals, strict=True)]
    worth: Array = np.maximum(np.exp(found).reshape(np.shape(aligned)) - shots, 0)
    return worth


def worth_interval(values: Array, draws: Array) -> Interval:
    """The value of all classes with percentiles of the bootstrap's draws (B,); may be infinite."""
    low, high = np.quantile(draws, [0.025, 0.975], method="nearest")
    return Interval(float(values), float(low), float(high))


def _reached(logs: Array, rising: Array, goal: float) -> float:
    """Log k at which a rising curve comes to a goal."""
    if goal > rising[-1]:
        return float("inf")
    i = int(np.argmax(rising >= goal))
    if i == 0:
        return float(logs[0])
    share = (goal - rising[i - 1]) / (rising[i] - rising[i - 1])
    return float(logs[i - 1] + share * (logs[i] - logs[i - 1]))
