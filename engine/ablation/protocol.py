"""What is refused before anything runs: data that cannot support the protocol of a spec."""

from collections.abc import Sequence

from xmg.cache import XmgError
from xmg.engine.ablation.cells import Cell
from xmg.engine.config import Config
from xmg.engine.problem import open_problem
from xmg.engine.tasks import test_tasks


def check(cells: Sequence[Cell]) -> None:
    """Raise XmgError, naming the cell, where a class split or the test episodes cannot be made."""
    seen: set[Config] = set()
    for cell in cells:
        config = _plain(cell.configs[0])
        if config in seen:
            continue
        seen.add(config)
        try:
            problem = open_problem(config)
            test_tasks(problem.test, config, config.shots)
        except XmgError as error:
            axes = "".join(f", {name} = {value}" for name, value in cell.axes.items())
            raise XmgError(f"{cell.label}, seed {cell.seed}{axes}: {error}") from None


def _plain(config: Config) -> Config:
    """Without what changes neither split nor episodes; clustering would take minutes."""
    found = config.model_copy(update={"system": "croma", "n_clusters": None})
    return found.model_copy(update={"sets": "label"}) if found.sets == "clusters" else found
