"""Tables of an ablation in Markdown."""

from collections.abc import Mapping, Sequence

import numpy as np

from xmg.engine.ablation.results import Array, Finished, Key, arrays, combinations
from xmg.engine.ablation.statistics import Comparison, Summary, compare, summary

NOTE = (
    "Accuracy in percent on unseen classes: mean ± standard deviation over seeds [95% interval "
    "of the mean]. A seed is the whole experiment anew: class split, training, episodes. All rows "
    "meet the same episodes. Target samples (labels) are those read in meta-training."
)


def markdown(title: str, found: Sequence[Finished], shots: Sequence[int], reference: str) -> str:
    """All tables: for each combination of the axes accuracies, then comparisons, then failures."""
    parts = [f"# {title}", NOTE]
    for axes in combinations(found):
        if axes:
            parts.append("## " + ", ".join(f"{name} = {value}" for name, value in axes))
        parts += _tables(found, axes, shots, reference)
    parts += _failures(found)
    return "\n\n".join(parts) + "\n"


def _tables(
    found: Sequence[Finished], axes: Key, shots: Sequence[int], reference: str
) -> list[str]:
    data = {k: arrays(found, axes, k) for k in shots}
    rows = list(data[shots[0]])
    if not rows:
        return ["No row has finished."]
    n_seeds = len(data[shots[0]][rows[0]])
    summaries = {k: {row: summary(data[k][row]) for row in rows} for k in shots}
    parts = [f"{n_seeds} seeds.", _accuracies(found, axes, shots, summaries)]
    if reference in rows and len(rows) > 1:
        parts.append(_comparisons(data, rows, shots, reference))
    return parts


def _accuracies(
    found: Sequence[Finished],
    axes: Key,
    shots: Sequence[int],
    summaries: Mapping[int, Mapping[str, Summary]],
) -> str:
    reads = {
        one.cell.label: one.result["reads"] for one in found if one.axes == axes and one.result
    }
    best = {k: max(s.mean for s in summaries[k].values()) for k in shots}
    head = ["system", *(f"{k}-shot" for k in shots), "target samples (labels)"]
    lines = [
        [
            row,
            *(_cell(summaries[k][row], best[k]) for k in shots),
            f"{reads[row]['samples']} ({reads[row]['labels']})",
        ]
        for row in summaries[shots[0]]
    ]
    return _table(head, lines)


def _cell(s: Summary, best: float) -> str:
    mean = f"{100 * s.mean:.1f}"
    mean = f"**{mean}**" if s.mean == best else mean
    if np.isnan(s.std):
        return mean
    return f"{mean} ± {100 * s.std:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]"


def _comparisons(
    data: Mapping[int, Mapping[str, Array]],
    rows: Sequence[str],
    shots: Sequence[int],
    reference: str,
) -> str:
    others = [row for row in rows if row != reference]
    by_shots = {
        k: compare(data[k][reference], {row: data[k][row] for row in others}) for k in shots
    }
    head = [f"{reference} against", *(f"{k}-shot" for k in shots)]
    lines = [[row, *(_difference(by_shots[k][row]) for k in shots)] for row in others]
    note = (
        "Difference in points (p of a paired t-test over seeds, Holm-corrected in each column; "
        f"share of episodes that {reference} answers better, ties as halves):"
    )
    return note + "\n\n" + _table(head, lines)


def _difference(c: Comparison) -> str:
    p = "-" if np.isnan(c.p) else "<0.001" if c.p < 0.001 else f"{c.p:.3f}"
    return f"{100 * c.difference:+.1f} (p {p}; {100 * c.wins:.0f}%)"


def _failures(found: Sequence[Finished]) -> list[str]:
    failed = [one for one in found if one.failure]
    if not failed:
        return []
    lines = [
        [one.cell.label, str(one.cell.seed), _axes(one), " ".join((one.failure or "").split())]
        for one in failed
    ]
    return ["## Cells without a result", _table(["system", "seed", "axes", "reason"], lines)]


def _axes(one: Finished) -> str:
    return ", ".join(f"{name} = {value}" for name, value in one.axes) or "-"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([row(head), row(["---"] * len(head)), *(row(line) for line in lines)])
