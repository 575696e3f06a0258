"""A run as a folder that needs nothing else: safetensors, JSON, held-out rows, a model card."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

import xmg
from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.edit import select
from xmg.cache.outputs import refused
from xmg.cache.pairs import Rows
from xmg.engine.config import FILES, Config
from xmg.engine.data.pool import Pool
from xmg.engine.data.problem import Problem
from xmg.engine.evaluate import Result
from xmg.engine.manifest import identity
from xmg.engine.meta_test import evaluate_opened, open_run
from xmg.engine.predict.card import model_card
from xmg.engine.predict.model import FORMAT, MODEL, VALIDATION, WEIGHTS
from xmg.engine.run import replace_text, save_state

CARD: Final = "README.md"
_KEPT: Final = 128  # rows of a held-out class, enough to calibrate by


def export_run(
    run: Path, out: Path, *, licences: Mapping[str, str] | None = None, overwrite: bool = False
) -> Path:
    """Write a run's best checkpoint to the folder `out`, for `load_model` on any machine.

    model.safetensors: fronts, heads and phi. model.json: settings without paths, what made the
    features, class split, accuracies. validation.h5: up to 128 rows of each meta-validation class,
    by which settings are chosen and probabilities calibrated. README.md: the model card. licences:
    of the encoders, by name. The folder appears whole. Raises XmgError where the run is not
    finished, or `out` is there already; `overwrite` replaces an exported model and nothing else.
    """
    _check_free(out, overwrite)
    config, problem, state = opened = open_run(run)
    found = _description(config, problem, evaluate_opened(*opened))
    with _appearing(out) as folder:
        save_state(folder / WEIGHTS, replace(state, outer={}))
        held_out = problem.validation.target
        _write_validation(FeatureFile(config.target), held_out, folder / VALIDATION)
        replace_text(folder / MODEL, json.dumps(found, indent=1, ensure_ascii=False))
        replace_text(folder / CARD, model_card(out.name, found, licences or {}))
    return out


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not (out / MODEL).is_file():
        raise XmgError(f"{out} exists and is no exported model. fix: name another folder")
    if not overwrite:
        raise XmgError(f"{out} holds an exported model. fix: --overwrite, or another folder")


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A folder that comes to its name when the block is left in good order.

    A former one goes when the new one is whole; whatever happens, nothing else is left. Raises
    XmgError where the disk refuses.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True
        ) as aside:
            new = Path(aside, "new")
            new.mkdir()
            yield new
            if out.exists():
                out.replace(Path(aside, "former"))
            new.replace(out)
    except OSError as error:
        raise refused(out, error) from error


def _write_validation(file: FeatureFile, pool: Pool, out: Path) -> None:
    rows = np.concatenate([_spread(pool.members(c)) for c in range(len(pool.classes))])
    select(file, out, ids=decode(file.ids[rows]))


def _spread(rows: Rows) -> Rows:
    """At most _KEPT rows, evenly."""
    n = min(len(rows), _KEPT)
    return rows[np.arange(n) * len(rows) // n]


def _description(config: Config, problem: Problem, results: Sequence[Result]) -> dict[str, Any]:
    settings = json.loads(config.model_dump_json())
    for name in FILES:
        path = getattr(config, name)
        settings[name] = path.name if path else None
    sides = {"source": config.source, "target": config.target}
    return {
        "format": FORMAT,
        "xmg": xmg.__version__,
        "config": settings,
        "data": {side: _data(FeatureFile(path)) for side, path in sides.items()},
        "classes": {
            "source": list(problem.train.source.classes),
            "sets": list(problem.train.sets.names)[:1000],
            "validation": list(problem.validation.target.classes),
            "test": list(problem.test.target.classes),
        },
        "n_pairs": len(problem.train.sets.target_rows),
        "n_sets": len(problem.train.sets),
        "accuracy": [
            {"system": r.system, "shots": r.shots, "mean": r.mean, "std": r.std,
             "n_repeats": len(r.tasks), "n_tasks": len(r.tasks[0])}
            for r in results
        ],
    }  # fmt: skip


def _data(file: FeatureFile) -> dict[str, Any]:
    named = {key: value for key, value in identity(file).items() if key != "path"}
    return {**asdict(file.spec), **named, "rows": len(file), "dim": file.dim}
