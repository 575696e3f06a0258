"""Which classes a run takes for which."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from xmg.engine.analysis.predictions import Example
from xmg.engine.pages.figures import WIDTH, Figure, drawing, label, to_svg
from xmg.engine.tables import Table

_MOST: Final = 30  # classes of a plot
_PAIRS: Final = 15  # confusions that are listed
Counts = npt.NDArray[np.int64]


def counts(examples: Sequence[Example]) -> tuple[list[str], Counts]:
    """Classes by name, and how often queries of class i were taken for class j, (C, C)."""
    classes = sorted({name for e in examples for name in e.scores})
    number = {name: i for i, name in enumerate(classes)}
    found = np.zeros((len(classes), len(classes)), np.int64)
    for e in examples:
        found[number[e.true], number[e.predicted]] += 1
    return classes, found


def confusion(examples: Sequence[Example]) -> Figure:
    """The matrix over all meta-test queries of one shot count, and the most frequent confusions."""
    classes, found = counts(examples)
    shots = examples[0].shots
    kept = np.sort(np.argsort(-_wrong(found), kind="stable")[:_MOST])
    shown, names = found[np.ix_(kept, kept)], [label(classes[c]) for c in kept]
    shares = shown / np.maximum(found.sum(1)[kept, None], 1)
    table = _most_frequent(classes, found, shots)
    right = np.trace(found) / max(found.sum(), 1)
    alt = f"Confusion matrix at {shots}-shot: {100 * right:.1f}% of {found.sum():,} " + (
        f"queries are right. Most often {table.lines[0][0]} is taken for {table.lines[0][1]}."
        if table.lines
        else "queries are right, and none is wrong."
    )
    side = max(WIDTH, 1.8 + 0.32 * len(names))
    with drawing(side, side) as canvas:
        ax = canvas.subplots()
        ax.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="#eee", linewidth=0.5)
        for i, j in zip(*np.nonzero(shown), strict=True):
            colour = "#fff" if shares[i, j] > 0.55 else "#1b1b1b"
            ax.text(j + 0.5, i + 0.5, f"{100 * shares[i, j]:.0f}", ha="center", va="center",
                    fontsize=7.5, color=colour)  # fmt: skip
        places = np.arange(len(names)) + 0.5
        ax.set(xlim=(0, len(names)), ylim=(len(names), 0), xlabel="answer", ylabel="truth",
               aspect="equal")  # fmt: skip
        ax.set_xticks(places, names, rotation=90, fontsize=8.5)
        ax.set_yticks(places, names, fontsize=8.5)
        svg = to_svg(canvas, alt)
    note = (
        "Percent of the queries of the class on the left that were taken for the class below. A "
        "class can only be taken for one that stands in the same task."
        + (f" The {_MOST} classes with most errors, of {len(classes)}." if len(kept) < len(classes)
           else "")
    )  # fmt: skip
    return Figure(f"Confusions at {shots}-shot", svg, note, table)


def _wrong(found: Counts) -> Counts:
    """Errors that a class has part in, as truth or as answer."""
    errors: Counts = found.sum(0) + found.sum(1) - 2 * np.diag(found)
    return errors


def _most_frequent(classes: Sequence[str], found: Counts, shots: int) -> Table:
    wrong = found * (1 - np.eye(len(found), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    lines = [
        [classes[i], classes[j], str(wrong[i, j]), f"{100 * wrong[i, j] / found[i].sum():.1f}"]
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    head = ["truth", "answer", "queries", "% of the truth's queries"]
    return Table(f"Most frequent confusions at {shots}-shot", head, lines, 2)
