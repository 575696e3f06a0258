"""Accuracy by shot count, of a run beside the rows without pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from xmg.engine.ablation.results import Array
from xmg.engine.ablation.statistics import Summary, summary
from xmg.engine.ablation.tables import accuracies, comparisons
from xmg.engine.evaluate import Result
from xmg.engine.pages.figures import WIDTH, Figure, drawing, label, styles, to_svg
from xmg.engine.tables import Table

UNIT: Final = (
    "The unit is a repeat: fresh support and query samples for the same {tasks} tasks, answered "
    "by the same trained heads. Intervals and tests say how well {repeats} repeats measure this "
    "run on these classes, and not what another class split or another training would give: for "
    "that run several seeds, as xmg ablate does."
)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a run classifies: by shots and row, and against each other row."""

    unit: str
    figure: Figure  # with the table of accuracies
    note: str
    compared: Table
    best: Sequence[tuple[int, Summary]]  # of the system, by shots


def accuracy(results: Sequence[Result], system: str) -> Accuracy:
    """Of results by row and shots; `system` is the row that others are compared with."""
    data = _by_shots(results)
    summaries = {k: {row: summary(a) for row, a in rows.items()} for k, rows in data.items()}
    repeats, tasks = np.shape(results[0].tasks)
    note, compared = comparisons(data, system, "repeats")
    return Accuracy(
        UNIT.format(tasks=tasks, repeats=repeats),
        plot(summaries, accuracies(summaries, {})),
        note,
        compared,
        [(k, rows[system]) for k, rows in summaries.items()],
    )


def _by_shots(results: Sequence[Result]) -> dict[int, dict[str, Array]]:
    data: dict[int, dict[str, Array]] = {}
    for r in results:
        data.setdefault(r.shots, {})[r.system] = np.array(r.tasks)
    return data


def plot(summaries: dict[int, dict[str, Summary]], table: Table) -> Figure:
    """Mean and 95% interval of each row over the shot counts, a little apart."""
    shots, rows = list(summaries), list(next(iter(summaries.values())))
    alt = "Accuracy in percent by labels per class. " + " ".join(
        f"{row}: " + ", ".join(f"{100 * summaries[k][row].mean:.1f} at {k}" for k in shots) + "."
        for row in rows
    )
    with drawing(WIDTH, 3.6) as canvas:
        ax = canvas.subplots()
        for i, (row, style) in enumerate(zip(rows, styles(), strict=False)):
            of = [summaries[k][row] for k in shots]
            x = np.arange(len(shots)) + 0.06 * (i - (len(rows) - 1) / 2)
            mean = np.array([100 * s.mean for s in of])
            ends = np.array([(s.mean - s.low, s.high - s.mean) for s in of]).T
            ax.errorbar(x, mean, 100 * np.nan_to_num(ends), capsize=3, label=label(row), **style)
        ax.set(xlabel="labels per class (shots)", ylabel="accuracy on unseen classes (%)")
        ax.set_xticks(range(len(shots)), [str(k) for k in shots])
        ax.set_xlim(-0.5, len(shots) - 0.5)
        ax.grid(axis="y", color="#ddd")
        canvas.legend(loc="outside lower center", ncols=2, fontsize="small")
        svg = to_svg(canvas, alt)
    note = "Points are means over repeats, bars 95% intervals of the mean (Student's t)."
    return Figure("Accuracy by labels per class", svg, note, table)
