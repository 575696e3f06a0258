"""Tables of an ablation, as values and in Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xmg.cache.counted import counted
from xmg.engine.ablation.results import Array, Finished, Key, arrays, combinations
from xmg.engine.ablation.statistics import Comparison, Summary, compare, summary
from xmg.engine.tables import Cell, Table, to_markdown

NOTE = (
    "Accuracy in percent on unseen classes: mean ± standard deviation over seeds [95% interval "
    "of the mean]. A seed is the whole experiment anew: class split, training, episodes. All rows "
    "meet the same episodes. Target samples (labels) are those read in meta-training."
)


@dataclass(frozen=True, slots=True)
class Section:
    """Sentences and tables of one combination of the axes, or of the failures; "" = no title."""

    title: str
    parts: Sequence[str | Table]


def markdown(title: str, found: Sequence[Finished], shots: Sequence[int], reference: str) -> str:
    """All tables: for each combination of the axes accuracies, then comparisons, then failures."""
    parts = [f"# {title}", NOTE]
    for section in sections(found, shots, reference):
        parts += [f"## {section.title}"] if section.title else []
        parts += [part if isinstance(part, str) else to_markdown(part) for part in section.parts]
    return "\n\n".join(parts) + "\n"


def sections(found: Sequence[Finished], shots: Sequence[int], reference: str) -> list[Section]:
    """The same as values."""
    by_axes = [
        Section(in_words(axes), _parts(cells, shots, reference))
        for axes, cells in combinations(found).items()
    ]
    return by_axes + _failures(found)


def in_words(axes: Key) -> str:
    """Such as `label_noise = 0.2, n_way = 5`; "" without axes."""
    return ", ".join(f"{name} = {value}" for name, value in axes)


def _parts(found: Sequence[Finished], shots: Sequence[int], reference: str) -> list[str | Table]:
    data = {k: arrays(found, k) for k in shots}
    rows = list(data[shots[0]])
    if not rows:
        some = any(one.result for one in found)
        return ["No seed is finished by all rows." if some else "No row has finished."]
    n_seeds = len(data[shots[0]][rows[0]])
    summaries = {k: {row: summary(data[k][row]) for row in rows} for k in shots}
    beside = {row: _read(found, row) for row in rows}
    parts: list[str | Table] = [
        f"{counted(n_seeds, 'seed')}.",
        accuracies(summaries, {"target samples (labels)": beside}),
    ]
    if reference in rows and len(rows) > 1:
        parts += comparisons(data, reference, "seeds")
    return parts


def _read(found: Sequence[Finished], row: str) -> str:
    """Target samples and labels, such as `3550 (0)`, or `3400-3550 (0)` where seeds differ."""
    of_row = [one.result["reads"] for one in found if one.result and one.cell.label == row]
    said = []
    for what in ("samples", "labels"):
        counts = [reads[what] for reads in of_row]
        said.append("-".join(map(str, sorted({min(counts), max(counts)}))))
    return f"{said[0]} ({said[1]})"


def accuracies(
    summaries: Mapping[int, Mapping[str, Summary]], beside: Mapping[str, Mapping[str, str]]
) -> Table:
    """A line for each row, a column for each shot count; beside: further columns by row."""
    best = {k: max(s.mean for s in by_row.values()) for k, by_row in summaries.items()}
    lines: list[list[str | Cell]] = [
        [
            row,
            *(_cell(by_row[row], best[k]) for k, by_row in summaries.items()),
            *(values[row] for values in beside.values()),
        ]
        for row in next(iter(summaries.values()))
    ]
    return Table("Accuracy (%)", ["system", *(f"{k}-shot" for k in summaries), *beside], lines)


def _cell(s: Summary, best: float) -> Cell:
    mean = f"{100 * s.mean:.1f}"
    spread = (
        "" if np.isnan(s.std) else f" ± {100 * s.std:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]"
    )
    return Cell(spread, mean) if s.mean == best else Cell(mean + spread)


def comparisons(
    data: Mapping[int, Mapping[str, Array]], reference: str, unit: str
) -> tuple[str, Table]:
    """A sentence that says what is compared, and how the reference differs from every other row.

    data: by shots and row, accuracies (units, episodes).
    """
    others = [row for row in next(iter(data.values())) if row != reference]
    by_shots = {
        k: compare(rows[reference], {row: rows[row] for row in others}) for k, rows in data.items()
    }
    head = [f"{reference} against", *(f"{k}-shot" for k in data)]
    lines = [[row, *(_difference(by_shots[k][row]) for k in data)] for row in others]
    note = (
        f"Difference in points (p of a paired t-test over {unit}, Holm-corrected in each column; "
        f"share of episodes that {reference} answers better, ties as halves):"
    )
    return note, Table(f"{reference} against the other rows", head, lines)


def _difference(c: Comparison) -> str:
    p = "-" if np.isnan(c.p) else "<0.001" if c.p < 0.001 else f"{c.p:.3f}"
    return f"{100 * c.difference:+.1f} (p {p}; {100 * c.wins:.0f}%)"


def _failures(found: Sequence[Finished]) -> list[Section]:
    failed = [one for one in found if one.failure]
    if not failed:
        return []
    lines = [
        [
            one.cell.label,
            str(one.cell.seed),
            in_words(one.axes) or "-",
            " ".join((one.failure or "").split()),
        ]
        for one in failed
    ]
    head = ["system", "seed", "axes", "reason"]
    return [Section("Cells without a result", [Table("Cells without a result", head, lines, 4)])]
