"""Finished cells as one tidy table, and as the arrays that statistics take."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError
from xmg.cache.outputs import appearing
from xmg.engine.ablation.cells import FAILURE, RESULT, Cell

Key = tuple[tuple[str, Any], ...]  # one combination of the axes
Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell and what came of it: a result, or the reason why there is none."""

    cell: Cell
    result: Mapping[str, Any] | None
    failure: str | None

    @property
    def axes(self) -> Key:
        """Its combination of the axes."""
        return tuple(self.cell.axes.items())


def read(cells: Sequence[Cell], folders: Sequence[Path]) -> list[Finished]:
    """Read what lies in the cells' folders. Raises XmgError where cells met other episodes."""
    found = [_read(cell, folder) for cell, folder in zip(cells, folders, strict=True)]
    _check_episodes(found)
    return found


def _read(cell: Cell, folder: Path) -> Finished:
    if (folder / RESULT).exists():
        return Finished(cell, _result(folder / RESULT), None)
    if (folder / FAILURE).exists():
        return Finished(cell, None, (folder / FAILURE).read_text("utf-8"))
    return Finished(cell, None, "not computed yet")


def _result(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise XmgError(
            f"{path} is damaged ({error}). fix: remove it and type the same command again"
        ) from error
    return found


def _check_episodes(found: Sequence[Finished]) -> None:
    """Rows of a seed and a combination meet the same episodes, or nothing is compared."""
    met: dict[tuple[int, Key], str] = {}
    for one in found:
        if one.result is None:
            continue
        digest = met.setdefault((one.cell.seed, one.axes), one.result["episodes"])
        if digest != one.result["episodes"]:
            raise XmgError(
                f"the row {one.cell.label!r} of seed {one.cell.seed} met other episodes than the "
                "rows beside it, so they cannot be compared. fix: give all rows the same n_way, "
                "n_query, n_tasks and n_repeats, or another output folder"
            )


def write_tidy(path: Path, found: Sequence[Finished]) -> None:
    """One line for each episode: row, system, seed, axes, shots, repeat, task, accuracy."""
    axes = list(dict.fromkeys(name for one in found for name in one.cell.axes))
    with appearing(path) as raw:
        text = io.TextIOWrapper(raw, "utf-8", newline="")
        writer = csv.writer(text)
        writer.writerow(["row", "system", "seed", *axes, "shots", "repeat", "task", "accuracy"])
        for one in found:
            where = [one.cell.label, one.cell.system, one.cell.seed, *one.cell.axes.values()]
            writer.writerows([*where, *line] for line in _lines(one))
        text.detach()


def _lines(one: Finished) -> Iterator[tuple[object, ...]]:
    for k, answered in (one.result or {"shots": {}})["shots"].items():
        for repeat, row in enumerate(answered["tasks"]):
            for task, accuracy in enumerate(row):
                yield k, repeat, task, round(accuracy, 6)


def arrays(found: Sequence[Finished], k: int) -> dict[str, Array]:
    """By row, accuracies (seeds, episodes) of the cells of one combination, at one shot count.

    Only seeds that all rows have finished count, so that rows stay paired; a row with no result at
    all is left out.
    """
    by_row: dict[str, dict[int, Array]] = {}
    for one in found:
        if one.result is not None:
            tasks = np.array(one.result["shots"][str(k)]["tasks"], np.float64)
            by_row.setdefault(one.cell.label, {})[one.cell.seed] = tasks.ravel()
    shared = set.intersection(*(set(seeds) for seeds in by_row.values())) if by_row else set()
    return {
        label: np.stack([seeds[s] for s in sorted(shared)])
        for label, seeds in by_row.items()
        if shared
    }


def combinations(found: Sequence[Finished]) -> dict[Key, list[Finished]]:
    """The cells of each combination of the axes, in the spec's order."""
    cells: dict[Key, list[Finished]] = {}
    for one in found:
        cells.setdefault(one.axes, []).append(one)
    return cells
