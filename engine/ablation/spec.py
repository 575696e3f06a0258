"""An ablation as a file that a person can read: which rows, on what, how often."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.engine.ablation.cells import Cell
from xmg.engine.config import FILES, Config, make_config
from xmg.engine.systems import SYSTEMS, TRAINED

Values = Annotated[list[Any], Field(min_length=1)]
_OWN = (*FILES, "seed", "system", "shots")  # not settings of a spec


class Spec(BaseModel):
    """What a spec file holds.

    source = "text.h5"                # beside the file, like concepts and pairs
    target = "speech.h5"
    systems = ["class-mean", "croma"]
    shots = [1, 5, 10]
    seeds = 10                        # the whole experiment, split and all: 0, 1, ...
    reference = "croma"               # what the others are tested against
    [settings]                        # of all cells, see engine/config.py
    n_way = 5
    [axes]                            # every combination is run
    label_noise = [0.0, 0.2, 0.4]
    [[variant]]                       # a further row, with settings of its own
    label = "CROMA, random heads"
    system = "croma"
    start = "random"
    [[tune]]                          # of these, meta-validation chooses for each trained row
    align_rate = 1e-3
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path
    target: Path
    concepts: Path | None = None
    pairs: Path | None = None
    systems: list[str] = []
    shots: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)] = [1, 5, 10]
    seeds: Annotated[int, Field(ge=1)] = 10
    reference: str = "croma"
    settings: dict[str, Any] = {}
    axes: dict[str, Values] = {}
    variant: list[dict[str, Any]] = []
    tune: list[dict[str, Any]] = []


def read_spec(path: Path, here: bool = False, **instead: Any) -> Spec:
    """Read a spec; `instead` holds values that stand in for the file's.

    Its paths are beside it; with `here`, in the working folder.

    Raises XmgError naming the line of what is wrong: an unknown system or setting, an empty axis, a
    value out of range, a row named twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except FileNotFoundError:
        raise XmgError(f"no spec at {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise XmgError(f"{path} is not a readable TOML file: {error}") from error
    for key in FILES:
        if isinstance(document.get(key), str):
            document[key] = (Path() if here else path.parent) / document[key]
    document |= {key: value for key, value in instead.items() if value is not None}
    try:
        spec = Spec.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        where = _line(text, *map(str, first["loc"]))
        raise XmgError(f"{path}{where}: {name}: {first['msg']}") from None
    _check(path, text, spec)
    return spec


def _check(path: Path, text: str, spec: Spec) -> None:
    """Raise XmgError for names that mean nothing, and for settings that no run could have."""
    rows = [*spec.systems, *(v.get("system", "") for v in spec.variant)]
    for name in rows:
        if name not in SYSTEMS:
            raise XmgError(
                f"{path}{_line(text, name)}: there is no system {name!r}"
                f"{closest(name, list(SYSTEMS))}. fix: one of {', '.join(SYSTEMS)}"
            )
    labels = [label for label, _, _ in _rows(spec)]
    if not labels:
        raise XmgError(f"{path}: no rows. fix: systems = ['croma', ...]")
    if twice := [(name, label) for label, name, _ in _rows(spec) if labels.count(label) > 1]:
        where, label = _line(text, *twice[0]), twice[0][1]
        raise XmgError(f"{path}{where}: the row {label!r} is named twice")
    if label_of(spec.reference) not in labels:
        raise XmgError(
            f"{path}{_line(text, 'reference')}: reference {spec.reference!r} is none of the rows. "
            f"fix: one of {', '.join(labels)}"
        )
    for part in (spec.settings, spec.axes, *(own for _, _, own in _rows(spec)), *spec.tune):
        for name in part:
            _check_setting(path, text, name)
    _check_values(path, text, spec)


def _check_setting(path: Path, text: str, name: str) -> None:
    if name not in Config.model_fields or name in _OWN:
        known = [n for n in Config.model_fields if n not in _OWN]
        raise XmgError(
            f"{path}{_line(text, name)}: there is no setting {name!r}{closest(name, known)}"
        )


def _check_values(path: Path, text: str, spec: Spec) -> None:
    """Try each setting's values alone, then all cells of the first seed whole."""
    for name, values in spec.axes.items():
        for value in values:
            try:
                make_config(source=spec.source, target=spec.target, **{name: value})
            except XmgError as error:
                if str(error).startswith(f"{name}:"):
                    raise XmgError(f"{path}{_line(text, name)}: axes.{error}") from None
    try:
        cells_of(spec.model_copy(update={"seeds": 1}))
    except XmgError as error:
        name = str(error).split(":")[0].split(".")[0]
        raise XmgError(f"{path}{_line(text, name)}: {error}") from None


def cells_of(spec: Spec) -> list[Cell]:
    """Every cell, seed by seed, so that a table is whole as early as can be."""
    cells = []
    combinations = [
        dict(zip(spec.axes, values, strict=True)) for values in product(*spec.axes.values())
    ]
    for seed in range(spec.seeds):
        for axes in combinations:
            for label, system, own in _rows(spec):
                base = {
                    "source": spec.source.resolve(),
                    "target": spec.target.resolve(),
                    "concepts": spec.concepts.resolve() if spec.concepts else None,
                    "pairs": spec.pairs.resolve() if spec.pairs else None,
                    "shots": tuple(spec.shots),
                    "seed": seed,
                    **spec.settings,
                    **own,
                    **axes,
                }
                trained = system in TRAINED
                tune = spec.tune if trained and spec.tune else [{}]
                named = {"system": system} if trained else {}
                configs = tuple(make_config(**{**base, **one, **named}) for one in tune)
                cells.append(Cell(label, system, axes, configs))
    return cells


def _rows(spec: Spec) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Label, system and own settings of each row."""
    plain: Sequence[tuple[str, str, Mapping[str, Any]]] = [
        (label_of(n), n, {}) for n in spec.systems
    ]
    own = [
        (
            str(row.get("label", label_of(row.get("system", "")))),
            str(row.get("system", "")),
            {k: v for k, v in row.items() if k not in {"label", "system"}},
        )
        for row in spec.variant
    ]
    return [*plain, *own]


def label_of(system: str) -> str:
    """A system's row in the tables; other labels stay as they are."""
    return SYSTEMS[system].title if system in SYSTEMS else system


def _line(text: str, *names: str) -> str:
    """`, line N` of the first line that holds the last of the names that any line holds."""
    for name in reversed(names):
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", line.split("#")[0]):
                return f", line {number}"
    return ""
