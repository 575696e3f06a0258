"""What a table says of a row: mean, spread, interval, and whether it differs from the reference."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating[Any]]


class Summary(NamedTuple):
    """Of one row at one shot count; a seed, which is the whole experiment anew, is the unit."""

    mean: float
    std: float  # over seeds, with n - 1; NaN for one
    low: float  # 95% interval of the mean, by Student's t, inside [0, 1]; NaN for one seed
    high: float


class Comparison(NamedTuple):
    """Of one row with the reference, on the same episodes."""

    difference: float  # mean of reference - row
    p: float  # two-sided paired t-test over seeds, Holm-corrected over the rows of a table
    wins: float  # share of episodes that the reference answers better; ties are halves


def summary(accuracies: Array) -> Summary:
    """Of accuracies in [0, 1] of (seeds, episodes); the interval ends where accuracies do."""
    means = accuracies.mean(1)
    n, mean = len(means), float(means.mean())
    if n < 2:
        return Summary(mean, np.nan, np.nan, np.nan)
    std = float(means.std(ddof=1))
    half = half_width(means)
    return Summary(mean, std, max(mean - half, 0.0), min(mean + half, 1.0))


def half_width(values: Array) -> float:
    """Half of the 95% interval of the mean of values (n,), two at least, by Student's t."""
    n = len(values)
    std = float(values.std(ddof=1))
    half: float = float(stats.t.ppf(0.975, n - 1)) * std / n**0.5
    return half


def compare(reference: Array, rows: Mapping[str, Array]) -> dict[str, Comparison]:
    """Compare rows (seeds, episodes) with a reference of the same seeds and episodes."""
    corrected = holm([paired(reference.mean(1), row.mean(1)) for row in rows.values()])
    return {
        name: Comparison(float((reference - row).mean()), p, wins(reference, row))
        for (name, row), p in zip(rows.items(), corrected, strict=True)
    }


def paired(a: Array, b: Array) -> float:
    """p of the two-sided paired t-test that means are equal; 1 for equal rows, NaN for one seed."""
    away = a - b
    if len(away) < 2:
        return float("nan")
    if np.ptp(away) < 1e-12:  # no spread: scipy would divide by zero
        return 1.0 if abs(away[0]) < 1e-12 else 0.0
    return float(stats.ttest_rel(a, b).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics, 1979).

    With p in ascending order, the i-th of m becomes the largest (m - j) p_j of j <= i, from j = 0,
    and at most 1. A NaN stays, and does not count.
    """
    order = [i for i in np.argsort(p, kind="stable").tolist() if not np.isnan(p[i])]
    found = [float("nan")] * len(p)
    highest = 0.0
    for j, i in enumerate(order):
        highest = max(highest, (len(order) - j) * p[i])
        found[i] = min(1.0, highest)
    return found


def wins(a: Array, b: Array) -> float:
    """Share of episodes where a is above b; ties are halves."""
    return float(((a > b) + 0.5 * (a == b)).mean())
