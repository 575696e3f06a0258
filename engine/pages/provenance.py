"""Where a result comes from: files, encoders, settings, the class split."""

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from xmg import __version__
from xmg.cache import FeatureFile, XmgError
from xmg.engine.config import Config
from xmg.engine.data.problem import Problem
from xmg.engine.evaluate import Result
from xmg.engine.tables import Cell, Table

_LIBRARIES: Final = ("torch", "numpy", "numba", "scipy", "scikit-learn", "h5py")


def files_table(paths: Mapping[str, Path]) -> Table:
    """What each feature file holds and what made it; by its name, as folders are private."""
    columns = {name: _file(path) for name, path in paths.items()}
    keys = list(dict.fromkeys(key for values in columns.values() for key in values))
    lines = [[key, *(values.get(key, "-") for values in columns.values())] for key in keys]
    return Table("Feature files", ["", *columns], lines, len(columns) + 1)


def _file(path: Path) -> dict[str, str]:
    try:
        file = FeatureFile(path)
    except XmgError:
        return {"file": f"{path.name} (no longer there, or damaged)"}
    made = file.provenance
    kind = "sequences of frames" if file.is_sequence else "vectors"
    return {
        "file": path.name,
        "data set": file.dataset,
        "rows": f"{len(file):,} of {len(file.classes):,} classes, {len(file.rejects):,} rejected",
        "features": f"{kind}, {file.dim} wide, {file.dtype.name}",
        "encoder": file.encoder,
        "SHA-256 of the weights": made["weights_sha256"] or "no weights",
        "preprocessing": json.dumps(made["preprocessing"], ensure_ascii=False),
        "made with": ", ".join(f"{k} {v}" for k, v in made["versions"].items()),
        "fingerprint": file.fingerprint,
    }


def settings_table(config: Config) -> Table:
    """Every setting; those that are not the default stand out. Paths by their names."""
    lines = []
    for name, field in Config.model_fields.items():
        value = getattr(config, name)
        said = value.name if isinstance(value, Path) else in_words(value)
        default = field.is_required() or value == field.default
        lines.append([name, said if default else Cell("", said)])
    return Table("Settings", ["setting", "value"], lines, 2)


def without_folders(text: str, paths: Iterable[Path | None]) -> str:
    """A text that names these files, with their names alone: folders are private."""
    for path in paths:
        if path is not None:
            for known in dict.fromkeys((str(path), str(path.resolve()))):
                text = text.replace(known, path.name)
    return text


def in_words(value: Any) -> str:
    """Such as `1, 5, 10` for a tuple and `-` for None."""
    if isinstance(value, tuple | list):
        return ", ".join(map(in_words, value))
    return "-" if value is None else str(value)


def chosen_table(results: Sequence[Result]) -> Table:
    """What meta-validation chose for each row and shot count."""
    lines = [
        [r.system, str(r.shots), "; ".join(f"{k}: {in_words(v)}" for k, v in r.setting.items())]
        for r in results
    ]
    return Table("Chosen by meta-validation", ["row", "shots", "setting"], lines, 3)


def split_table(problem: Problem) -> Table:
    """Which classes each part has."""
    train = problem.train
    parts = {
        "labelled source classes of meta-training": train.source.classes,
        "sets of pairs of meta-training": train.sets.names,
        "target classes of meta-validation": problem.validation.target.classes,
        "target classes of meta-test": problem.test.target.classes,
    }
    lines = [[name, f"{len(names):,}", _listed(names)] for name, names in parts.items()]
    return Table("Class split", ["part", "number", "names"], lines, 3)


def _listed(names: Sequence[str], most: int = 200) -> str:
    more = f", and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more


def pairs_in_words(problem: Problem, config: Config) -> str:
    """Such as `weak pairs, 13 concepts of 4,680 source and 237 target rows`."""
    sets = problem.train.sets
    n_source, n_target = (int(np.diff(o).sum()) for o in (sets.source_offsets, sets.target_offsets))
    if config.concepts:
        return (
            f"weak pairs, {len(sets):,} concepts of {n_source:,} source and {n_target:,} "
            "target rows"
        )
    return f"strong pairs, {n_target:,} in {len(sets):,} sets"


def versions_table() -> Table:
    """What computed this page."""
    lines = [["xmg", __version__], ["Python", platform.python_version()]]
    lines += [[name, version(name)] for name in _LIBRARIES]
    return Table("Versions that computed this page", ["package", "version"], lines, 2)
