"""Learning curves of a run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from xmg.engine.pages.figures import COLOURS, WIDTH, Figure, drawing, to_svg
from xmg.engine.tables import Table

_LOSSES: Final = {"align_loss": "alignment loss", "classify_loss": "classification loss"}
_LOSS: Final = "_loss"  # how what a stage minimizes is called
_RANGE: Final = 5.0  # points of accuracy that the axis spans at least


def curves(metrics: Sequence[Mapping[str, Any]], best: int) -> Figure | None:
    """Validation accuracy and the losses by meta-iteration; None where nothing was noted.

    best: the meta-iteration whose heads the run keeps.
    """
    if not metrics:
        return None
    known = (name for row in metrics for name in row if row[name] is not None)
    losses = dict.fromkeys(name for name in known if name.endswith(_LOSS))
    panels = {"validation_accuracy": "meta-validation accuracy (%)"}
    panels |= {name: _LOSSES.get(name, name.replace("_", " ")) for name in losses}
    highest = max(row["validation_accuracy"] for row in metrics)
    alt = (
        f"Meta-validation accuracy over {metrics[-1]['iteration']} meta-iterations, from "
        f"{100 * metrics[0]['validation_accuracy']:.1f}% to at most {100 * highest:.1f}%; the best "
        f"checkpoint is that of meta-iteration {best}."
    )
    with drawing(WIDTH, 1.8 * len(panels)) as canvas:
        axes = canvas.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
        for ax, (name, title), colour in zip(axes, panels.items(), COLOURS, strict=False):
            points = [(r["iteration"], r[name]) for r in metrics if r.get(name) is not None]
            scale = 100 if name == "validation_accuracy" else 1
            ax.plot(*zip(*((i, scale * y) for i, y in points), strict=True),
                    color=colour, marker="o", markersize=3)  # fmt: skip
            if scale == 100:  # small changes shall look small
                low, high = ax.get_ylim()
                room = max(0.0, (_RANGE - (high - low)) / 2)
                ax.set_ylim(low - room, high + room)
            ax.axvline(best, color="#555", linestyle="--", linewidth=1)
            ax.set_ylabel(title, fontsize="small")
            ax.grid(axis="y", color="#ddd")
        axes[-1].set_xlabel("meta-iteration")
        svg = to_svg(canvas, alt)
    note = "The dashed line marks the checkpoint that the run keeps, chosen by meta-validation."
    head = ["meta-iteration", *panels.values(), "seconds"]
    lines = [_line(row, list(panels)) for row in metrics]
    return Figure("Learning curves", svg, note, Table("Learning curves", head, lines))


def _line(row: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    def said(name: str) -> str:
        value = row.get(name)
        if value is None:
            return "-"
        return f"{100 * value:.1f}" if name == "validation_accuracy" else f"{value:.4g}"

    return [str(row["iteration"]), *map(said, names), said("seconds")]
