"""A table as a value: Markdown and HTML say the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """What stands in a table: `strong` stands first and stands out, such as the best mean."""

    text: str
    strong: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A head, and lines of as many cells. The first n_names columns are words, others numbers."""

    title: str
    head: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]
    n_names: int = 1

    @property
    def cells(self) -> list[list[Cell]]:
        """Every line, without plain strings."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in line] for line in self.lines]


def to_markdown(table: Table) -> str:
    """Head, rule and lines, without the title."""

    def row(cells: Sequence[Cell]) -> str:
        shown = (f"**{c.strong}**{c.text}" if c.strong else c.text for c in cells)
        return "| " + " | ".join(text.replace("|", "\\|") for text in shown) + " |"

    head = [Cell(name) for name in table.head]
    return "\n".join([row(head), row([Cell("---")] * len(head)), *map(row, table.cells)])
