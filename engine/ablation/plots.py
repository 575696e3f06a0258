"""Plots of an ablation: accuracy by shots, or along its numeric axis."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from xmg.engine.ablation.results import Finished, arrays, combinations
from xmg.engine.ablation.statistics import summary
from xmg.engine.drawing import require_matplotlib

MOST: Final = 24  # panels; tables show the other combinations too
_ACROSS: Final = 4


def check_drawing() -> None:
    """Raise XmgError where matplotlib is not installed."""
    require_matplotlib("plots", "ablate")


def plot(path: Path, found: Sequence[Finished], shots: Sequence[int]) -> list[Path]:
    """Write path.svg and path.png; returns them.

    With one axis of numbers: a panel for each shot count, accuracy along the axis. Else accuracy by
    shot count, a panel for each of the first MOST combinations. Bars are 95% intervals. Raises
    XmgError as `check_drawing`.
    """
    check_drawing()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    every = panels(found, shots)
    drawn = every[:MOST]
    across = min(len(drawn), _ACROSS)
    down = -(-len(drawn) // across)
    figure = Figure(figsize=(4.5 * across, 4 * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True)
    for ax, (title, label, lines) in zip(axes.flat, drawn, strict=False):
        for row, points in lines.items():
            x, y, low, high = np.array(points, float).T
            ax.errorbar(x, y, [y - low, high - y], marker="o", capsize=2, label=row)
        ax.set(title=title, xlabel=label)
    for ax in axes.flat[len(drawn) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy on unseen classes (%)")
    named = max((ax.get_legend_handles_labels() for ax in axes.flat), key=lambda pair: len(pair[0]))
    axes[0, -1].legend(*named, fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    if len(every) > MOST:
        figure.suptitle(f"the first {MOST} of {len(every)} combinations")
    written = [path.with_suffix(suffix) for suffix in (".svg", ".png")]
    with matplotlib.rc_context({"svg.hashsalt": path.name}):  # names of shapes are random without
        figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1])
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
