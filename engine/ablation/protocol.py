"""What is refused before anything runs: data that cannot support the protocol of a spec."""

from collections.abc import Sequence
from pathlib import Path

from xmg.cache import XmgError
from xmg.engine.ablation.cells import Cell
from xmg.engine.config import Config
from xmg.engine.problem import open_problem
from xmg.engine.tasks import test_tasks


def check(cells: Sequence[Cell]) -> None:
    """Raise XmgError, naming the cell, where a class split or the test episodes cannot be made."""
    seen: set[Config] = set()
    for cell in cells:
        config = cell.configs[0]
        plain = config.model_copy(update={"system": "croma"})
        if plain in seen:
            continue
        seen.add(plain)
        try:
            problem = open_problem(config)
            test_tasks(problem.test, config, config.shots)
        except XmgError as error:
            axes = "".join(f", {name} = {value}" for name, value in cell.axes.items())
            raise XmgError(f"{cell.label}, seed {cell.seed}{axes}: {error}") from None


def check_files(*paths: Path | None) -> None:
    """Raise XmgError for a file that is not there."""
    for path in paths:
        if path is not None and not path.is_file():
            raise XmgError(f"no feature file at {path}. fix: xmg extract, or --source and --target")
