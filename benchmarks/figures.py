"""Draw docs/images/ from the table that a page shows, so that picture and page never differ.

python benchmarks/figures.py
"""

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, IMAGE = DOCS / "tutorials" / "text-to-speech.md", DOCS / "images" / "text-to-speech.svg"
COLOURS = ("#d9d9d9", "#bdbdbd", "#8c8c8c", "#5e35b1")  # one for each row, ours the last

Table = dict[str, list[tuple[float, float]]]


def table(text: str) -> tuple[list[str], Table]:
    """The last table of accuracies in a page: heads of columns, and row -> (mean, std) of each."""
    block = re.findall(r"^\| accuracy \(%\) .*\n\|[-| ]+\n(?:\|.*\n)+", text, re.M)[-1]
    head, _, *lines = ([cell.strip(" *") for cell in line.split("|")[1:-1]]
                       for line in block.splitlines())  # fmt: skip
    rows = {}
    for name, *cells in lines:
        found = [cell.replace("*", "").split("±") for cell in cells]
        rows[name] = [(float(mean), float(std)) for mean, std in found]
    return head[1:], rows


def draw(heads: list[str], rows: Table, out: Path) -> None:
    """Grouped bars with the spread over repeats; the same bytes each time."""
    matplotlib.rcParams |= {"svg.hashsalt": "xmg", "svg.fonttype": "none", "font.size": 11}
    figure, axes = plt.subplots(figsize=(7.2, 3.1), layout="constrained")
    width = 0.8 / len(rows)
    for i, (name, values) in enumerate(rows.items()):
        means, spreads = zip(*values, strict=True)
        places = [g + (i - (len(rows) - 1) / 2) * width for g in range(len(heads))]
        bars = axes.bar(places, means, width * 0.94, color=COLOURS[i], label=name)
        axes.errorbar(places, means, spreads, fmt="none", ecolor="#444444", elinewidth=1)
        axes.bar_label(bars, [f"{mean:.0f}" for mean in means], padding=7, fontsize=9)
    axes.axhline(20, color="#555555", linewidth=1, linestyle=":")
    axes.annotate("chance", (1.02, 20), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    axes.set_xticks(range(len(heads)), heads)
    axes.set_ylabel("accuracy (%)")
    axes.set_ylim(0, 105)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    out.parent.mkdir(exist_ok=True)
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(*table(PAGE.read_text(encoding="utf-8")), IMAGE)
    print(f"{IMAGE} drawn")
