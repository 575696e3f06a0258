"""Plots of an ablation: accuracy by shots, or along its numeric axis."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmg.cache import XmgError
from xmg.engine.ablation.results import Finished, arrays, combinations
from xmg.engine.ablation.statistics import summary


def plot(path: Path, found: Sequence[Finished], shots: Sequence[int]) -> list[Path]:
    """Write path.svg and path.png; returns them.

    With one axis of numbers: a panel for each shot count, accuracy along the axis. Else accuracy by
    shot count, a panel for each combination. Bars are 95% intervals.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise XmgError("plots need matplotlib. fix: pip install 'xmg[ablate]'") from None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    drawn = panels(found, shots)
    figure = Figure(figsize=(4.5 * len(drawn), 4), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0]
    for ax, (title, label, lines) in zip(axes, drawn, strict=True):
        for row, points in lines.items():
            x, y, low, high = np.array(points, float).T
            ax.errorbar(x, y, [y - low, high - y], marker="o", capsize=2, label=row)
        ax.set(title=title, xlabel=label)
    axes[0].set_ylabel("accuracy on unseen classes (%)")
    axes[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    written = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
    for one in written:
        figure.savefig(one)
    return written


Points = dict[str, list[tuple[float, float, float, float]]]
Panel = tuple[str, str, Points]  # title, name of x, lines


def panels(found: Sequence[Finished], shots: Sequence[int]) -> list[Panel]:
    """What `plot` draws, by values: points of a line are x, mean, low and high, in percent."""
    keys = list(combinations(found))
    along = len(keys) > 1 and len(keys[0]) == 1 and all(_is_number(k[0][1]) for k in keys)
    return _along(found, shots) if along else _by_shots(found, shots)


def _along(found: Sequence[Finished], shots: Sequence[int]) -> list[Panel]:
    by_key = combinations(found)
    ((name, _),) = next(iter(by_key))
    panels = []
    for k in shots:
        lines: Points = {}
        for ((_, value),), cells in by_key.items():
            _add(lines, cells, k, float(value))
        panels.append((f"{k}-shot", name, lines))
    return panels


def _by_shots(found: Sequence[Finished], shots: Sequence[int]) -> list[Panel]:
    panels = []
    for key, cells in combinations(found).items():
        lines: Points = {}
        for k in shots:
            _add(lines, cells, k, k)
        panels.append((", ".join(f"{n} = {v}" for n, v in key), "labels per class", lines))
    return panels


def _add(lines: Points, cells: Sequence[Finished], k: int, x: float) -> None:
    for row, accuracies in arrays(cells, k).items():
        s = summary(accuracies)
        known = not np.isnan(s.low)
        values = (s.mean, s.low if known else s.mean, s.high if known else s.mean)
        lines.setdefault(row, []).append((x, *(100 * v for v in values)))  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
