"""One cell: a row of the table on one seed and one combination of the axes; computed once."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmg.cache import FeatureFile, XmgError
from xmg.engine.config import FILES, Config
from xmg.engine.data.problem import open_problem
from xmg.engine.data.tasks import test_tasks
from xmg.engine.evaluate import Candidates, evaluate
from xmg.engine.manifest import identity, make_manifest
from xmg.engine.methods.system import ClosedForm, Trained, learner, samples_read
from xmg.engine.run import replace_text
from xmg.engine.systems import SYSTEMS
from xmg.engine.train import meta_train

RESULT, FAILURE = "result.json", "failure.txt"


@dataclass(frozen=True, slots=True)
class Cell:
    """configs: one, or those of which meta-validation chooses; they differ in training alone."""

    label: str
    system: str
    axes: Mapping[str, Any]
    configs: tuple[Config, ...]

    @property
    def seed(self) -> int:
        """Of the whole experiment: class split, training, episodes."""
        return self.configs[0].seed

    def folder(self, out: Path, identities: Mapping[Path, str]) -> Path:
        """Where its result lies: named by everything that the result depends on."""
        depends = {
            "system": self.system,
            "configs": [_depends(config, identities) for config in self.configs],
        }
        digest = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
        return out / "cells" / f"{self.system}-{self.seed}-{digest[:16]}"


def _depends(config: Config, identities: Mapping[Path, str]) -> dict[str, Any]:
    """Settings, with files by what they hold: a folder may move."""
    found: dict[str, Any] = json.loads(config.model_dump_json())
    for name in FILES:
        path = getattr(config, name)
        found[name] = identities[path] if path else None
    return found


def identities_of(cells: list[Cell]) -> dict[Path, str]:
    """What each file that the cells name holds: a digest of what it is, or of its bytes."""
    found = {}
    for config in {c for cell in cells for c in cell.configs[:1]}:
        for path in (config.source, config.target):
            if path not in found:
                what = {k: v for k, v in identity(FeatureFile(path)).items() if k != "path"}
                found[path] = hashlib.sha256(json.dumps(what).encode()).hexdigest()
        for path in filter(None, (config.concepts, config.pairs)):
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def compute(cell: Cell, folder: Path, episodes: Path) -> None:
    """Train where the system is trained, evaluate, and write result.json whole.

    A training that was cut short is continued. The frozen episodes are written to the folder
    `episodes` under their digest. A failure is written down as failure.txt; it is tried again by
    the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FAILURE).unlink(missing_ok=True)
    began = time.monotonic()
    try:
        found = _result(cell, folder, episodes)
    except Exception as error:
        reason = str(error) if isinstance(error, XmgError) else f"{type(error).__name__}: {error}"
        replace_text(folder / FAILURE, reason)
        return
    found["seconds"] = round(time.monotonic() - began, 1)
    replace_text(folder / RESULT, json.dumps(found))


def _result(cell: Cell, folder: Path, episodes: Path) -> dict[str, Any]:
    system = SYSTEMS[cell.system]
    if isinstance(system, Trained):
        config, candidates, note = _trained(cell, folder)
    else:
        config = cell.configs[0]
    problem = open_problem(config)
    view = system.view(problem, config)
    if isinstance(system, ClosedForm):
        candidates, note = system.candidates(view, config), {}
    results = evaluate(
        {cell.label: candidates}, problem.validation, problem.test, config, config.shots
    )
    tasks = test_tasks(problem.test, config, config.shots)
    digest = hashlib.sha256("".join(t.digest() for t in tasks.values()).encode()).hexdigest()
    if not (episodes / f"{digest[:16]}.json").exists():
        episodes.mkdir(parents=True, exist_ok=True)
        replace_text(episodes / f"{digest[:16]}.json", make_manifest(problem, config))
    return {
        "label": cell.label,
        "system": cell.system,
        "seed": cell.seed,
        "axes": dict(cell.axes),
        "episodes": digest,
        "reads": samples_read(system, view),
        "shots": {str(r.shots): {"tasks": r.tasks, "setting": dict(r.setting)} for r in results},
        **note,
    }


def _trained(cell: Cell, folder: Path) -> tuple[Config, Candidates, dict[str, Any]]:
    """Train each config; the one that meta-validation finds best, its learner, and what to note."""
    states = [meta_train(c, folder / _run_name(c)) for c in cell.configs]
    best = max(range(len(states)), key=lambda i: states[i].best_accuracy)
    config, state = cell.configs[best], states[best]
    note = {
        "tuned": best,
        "best_iteration": state.best_iteration,
        "validation_accuracy": state.best_accuracy,
    }
    return config, [learner(state.theta, state.fronts, config)], note


def _run_name(config: Config) -> str:
    """By paths too: a run knows its files by them, and one begun before they moved stays behind."""
    return f"run-{hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:8]}"
