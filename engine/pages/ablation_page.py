"""The report of an ablation: one page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xmg.engine.ablation.keeping import Kept, read_kept
from xmg.engine.ablation.plots import MOST, Panel, panels
from xmg.engine.ablation.results import Finished
from xmg.engine.ablation.spec import Spec, label_of
from xmg.engine.ablation.tables import NOTE, sections
from xmg.engine.pages import provenance
from xmg.engine.pages.figures import WIDTH, Figure, drawing, label, styles, to_svg
from xmg.engine.pages.render import page
from xmg.engine.tables import Table


@dataclass(frozen=True, slots=True)
class Counts:
    """Cells: all, with a result, without one."""

    cells: int
    done: int
    failed: int


def ablation_page(out: Path) -> str:
    """HTML of the tables, plots, failures and spec of what `xmg ablate` left in `out`.

    Raises XmgError as `read_kept`, and where a package that plots is missing.
    """
    kept, found = read_kept(out)
    spec = kept.spec
    paths = (spec.source, spec.target, spec.concepts, spec.pairs, out)
    found = [
        replace(one, failure=one.failure and provenance.without_folders(one.failure, paths))
        for one in found
    ]
    done = sum(one.result is not None for one in found)
    drawn = [panel for panel in panels(found, spec.shots) if panel[2]] if done else []
    left = f" Plots are of the first {MOST} of {len(drawn)} combinations."
    return page(
        "ablation.html",
        kept=kept,
        note=NOTE + (left if len(drawn) > MOST else ""),
        counts=Counts(len(found), done, len(found) - done),
        reference=label_of(spec.reference),
        sections=sections(found, spec.shots, label_of(spec.reference)),
        figures=[_plot(panel) for panel in drawn[:MOST]],
        cells=_cells(kept, found),
        spec=_spec(spec),
        files=provenance.files_table({"source": spec.source, "target": spec.target}),
        versions=provenance.versions_table(),
    )


def _plot(panel: Panel) -> Figure:
    """One panel: means with 95% intervals, a line for each row."""
    title, x_label, lines = panel
    title = f"Accuracy by {x_label}" + (f", {title}" if title else "")
    ends = "; ".join(f"{row} from {p[0][1]:.1f} to {p[-1][1]:.1f}" for row, p in lines.items())
    alt = f"{title}, in percent: {ends}."
    with drawing(WIDTH, 3.2 + 0.11 * len(lines)) as canvas:
        ax = canvas.subplots()
        at = [p[0] for points in lines.values() for p in points]
        apart = min(0.012, 0.1 / len(lines)) * (max(at) - min(at) or 1)  # bars side by side
        for i, ((row, points), style) in enumerate(zip(lines.items(), styles(), strict=False)):
            at_x, y, low, high = zip(*points, strict=True)
            x = [value + apart * (i - (len(lines) - 1) / 2) for value in at_x]
            half = [[b - a for a, b in zip(low, y, strict=True)],
                    [b - a for a, b in zip(y, high, strict=True)]]  # fmt: skip
            ax.errorbar(x, y, half, capsize=2, markersize=5, linewidth=1, label=label(row), **style)
        ax.set(xlabel=x_label, ylabel="accuracy on unseen classes (%)")
        ax.set_xticks(sorted(set(at)))
        ax.grid(axis="y", color="#ddd")
        canvas.legend(loc="outside lower center", ncols=2, fontsize="small")
        svg = to_svg(canvas, alt)
    note = "Points are means over seeds, bars 95% intervals of the mean; none with one seed."
    return Figure(title, svg, note, _numbers(title, x_label, lines))


def _numbers(title: str, x_label: str, lines: Any) -> Table:
    at = sorted({p[0] for points in lines.values() for p in points})
    by_row = {
        row: {x: f"{y:.1f} [{low:.1f}, {high:.1f}]" for x, y, low, high in points}
        for row, points in lines.items()
    }
    head = ["system", *(f"{x_label} {x:g}" for x in at)]
    return Table(title, head, [[row, *(p.get(x, "-") for x in at)] for row, p in by_row.items()])


def _cells(kept: Kept, found: Sequence[Finished]) -> Table:
    """What each cell did."""
    lines = [
        [
            one.cell.label,
            one.cell.system,
            ", ".join(f"{k} = {v}" for k, v in one.axes) or "-",
            folder.removeprefix("cells/"),
            str(one.cell.seed),
            _noted(one, "best_iteration"),
            _noted(one, "seconds"),
        ]
        for one, folder in zip(found, kept.cells, strict=True)
    ]
    head = ["row", "system", "axes", "folder", "seed", "best iteration", "seconds"]
    return Table("Cells", head, lines, 4)


def _noted(one: Finished, name: str) -> str:
    return provenance.in_words((one.result or {}).get(name))


def _spec(spec: Spec) -> Table:
    """What the spec says; paths by their names."""
    lines = []
    for name in Spec.model_fields:
        value = getattr(spec, name)
        if isinstance(value, dict):
            lines += [[f"{name}.{key}", provenance.in_words(v)] for key, v in value.items()]
        elif value and isinstance(value, list) and isinstance(value[0], dict):
            lines += [[name, ", ".join(f"{k} = {v}" for k, v in one.items())] for one in value]
        else:
            said = value.name if isinstance(value, Path) else provenance.in_words(value)
            lines.append([name, said or "-"])
    return Table("Spec", ["key", "value"], lines, 2)
