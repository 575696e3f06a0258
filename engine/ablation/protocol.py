"""What is refused before anything runs: data that cannot support the protocol of a spec."""

from collections.abc import Sequence

from xmg.cache import XmgError
from xmg.engine.ablation.cells import Cell
from xmg.engine.config import Config
from xmg.engine.data.problem import Problem, open_problem
from xmg.engine.data.room import check_room
from xmg.engine.data.tasks import test_tasks, validation_tasks
from xmg.engine.data.thinning import check_clusters
from xmg.engine.methods.system import Trained
from xmg.engine.systems import SYSTEMS


def check(cells: Sequence[Cell]) -> dict[str, str]:
    """The rows that the data cannot serve, by label the first reason; others can still be run.

    Raises XmgError, naming the cell, where a class split or the episodes cannot be made, and where
    no row is served.
    """
    by_data: dict[Config, list[Cell]] = {}
    for cell in cells:
        by_data.setdefault(_plain(cell.configs[0]), []).append(cell)
    refused: list[tuple[str, XmgError]] = []
    for config, rows in by_data.items():
        try:
            problem = _opened(config, rows)
        except XmgError as error:
            raise XmgError(_named(rows[0], error)) from None
        for cell in rows:
            try:
                _check_row(cell, problem)
            except XmgError as error:
                refused.append((cell.label, XmgError(_named(cell, error))))
    if len(refused) == len(cells):
        raise refused[0][1]
    return {label: str(error) for label, error in reversed(refused)}


def _opened(config: Config, rows: Sequence[Cell]) -> Problem:
    """Split, and draw the episodes of all shot counts: those of the most hold the others."""
    problem, most = open_problem(config), (max(config.shots),)
    check_room(problem, config)
    validation_tasks(problem.validation, config, most)
    test_tasks(problem.test, config, most)
    n_pairs = len(problem.train.sets.source_rows)
    for cell in rows:
        check_clusters(cell.configs[0].n_clusters or 0, n_pairs)
    return problem


def _check_row(cell: Cell, problem: Problem) -> None:
    """Raise XmgError where its system cannot be served; clustering would take minutes."""
    system, config = SYSTEMS[cell.system], cell.configs[0]
    if config.sets == "clusters" or (cell.system == "weak-labels" and not config.concepts):
        return
    view = system.view(problem, config)
    if isinstance(system, Trained):
        system.check(view, config)


def _named(cell: Cell, error: XmgError) -> str:
    axes = "".join(f", {name} = {value}" for name, value in cell.axes.items())
    return f"{cell.label}, seed {cell.seed}{axes}: {error}"


def _plain(config: Config) -> Config:
    """Without what changes neither split nor episodes; each pair alone stands for its cluster."""
    found = config.model_copy(update={"system": "croma", "n_clusters": None})
    if found.sets != "clusters":
        return found
    return found.model_copy(update={"sets": "id", "n_train_sets": None})
