"""An ablation as a file that a person can read: which rows, on what, how often."""

import re
from collections.abc import Mapping, Sequence
from itertools import product, takewhile
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from xmg.cache import FeatureFile, XmgError
from xmg.cache.names import closest
from xmg.cache.toml import read_toml
from xmg.cache.wording import of_value
from xmg.engine.ablation.cells import Cell
from xmg.engine.ablation.lines import line_of
from xmg.engine.config import FILES, Config, Positive, make_config
from xmg.engine.systems import SYSTEMS, TRAINED, system_of

Values = Annotated[list[Any], Field(min_length=1)]
Place = tuple[str | int, ...]  # in the spec, such as ("variant", 1)
Part = tuple[Place, Mapping[str, Any]]  # and the settings that stand there
_NO_SYSTEM: Final = (
    "a [[variant]] needs a system. fix: system = 'croma', or another of xmg ablate's"
)
OWN = (*FILES, "seed", "system", "shots")  # not settings of a spec
_COMPARED_ON: Final = {
    *("n_way", "n_query", "n_tasks", "n_validation", "n_repeats"),
    *("sets", "n_clusters", "n_train_sets", "target_share", "label_share", "label_noise"),
}


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
    shots: Annotated[list[Positive], Field(min_length=1)] = [1, 5, 10]
    seeds: Annotated[Positive, Field(le=10_000)] = 10  # each is listed before the first is run
    reference: str = "croma"
    settings: dict[str, Any] = {}
    axes: dict[str, Values] = {}
    variant: list[dict[str, Any]] = []
    tune: list[dict[str, Any]] = []


class Row(NamedTuple):
    """A row of the table, and where it stands."""

    label: str
    system: str
    own: Mapping[str, Any]
    place: Place


def read_spec(path: Path, here: bool = False, **instead: Any) -> Spec:
    """Read a spec; `instead` holds values that stand in for the file's.

    Its paths are beside it; with `here`, as for a shipped spec, in the working folder, except files
    that come with it.

    Raises XmgError naming the line of what is wrong: an unknown system or setting, an empty axis, a
    value out of range, a row named twice.
    """
    document, text = read_toml(path, "spec"), path.read_text(encoding="utf-8-sig")
    for key in FILES:
        if isinstance(name := document.get(key), str):
            beside = path.parent / name
            document[key] = beside if beside.exists() or not here else Path(name)
    document |= {key: value for key, value in instead.items() if value is not None}
    try:
        spec = Spec.model_validate(document)
    except ValidationError as error:
        found = error.errors()
        where = line_of(text, *found[0]["loc"])
        raise XmgError(f"{path}{where}: {_in_words(found)}") from None
    _check(path, text, spec)
    return spec


def _in_words(errors: Sequence[ErrorDetails]) -> str:
    name, kind = ".".join(map(str, errors[0]["loc"])), errors[0]["type"]
    if kind == "missing":
        return (
            f'{name} is not named. fix: {name} = "FILE.h5", above all tables, or --{name} FILE.h5'
        )
    if kind == "extra_forbidden":
        return f"a spec has no {name!r}{closest(name, list(Spec.model_fields))}"
    named = takewhile(lambda part: isinstance(part, str), errors[0]["loc"])
    return of_value(errors, len([*named]))


def _check(path: Path, text: str, spec: Spec) -> None:
    """Raise XmgError for names that mean nothing, and for settings that no run could have."""
    rows = _rows(spec)
    if not rows:
        raise XmgError(f"{path}: no rows. fix: systems = ['croma', ...]")
    for row in rows:
        try:
            system_of(row.system)
        except XmgError as error:
            where = line_of(text, *row.place, "system")
            raise XmgError(f"{path}{where}: {error if row.system else _NO_SYSTEM}") from None
    labels = [row.label for row in rows]
    for i, row in enumerate(rows):
        if row.label in labels[:i]:
            where = line_of(text, *row.place, "label")
            raise XmgError(f"{path}{where}: the row {row.label!r} is named twice")
    for place, part in _all_parts(spec):
        for name in part:
            if wrong := _wrong_setting(name, place):
                raise XmgError(f"{path}{line_of(text, *place, name)}: {wrong}")
    _check_values(path, text, spec)
    _check_reference(path, text, spec)


def _wrong_setting(name: str, place: Place) -> str:
    """What is wrong with a setting's standing there; "" where nothing is."""
    if name not in Config.model_fields or name in OWN:
        known = [n for n in Config.model_fields if n not in OWN]
        above = "; it stands above all tables" if name in Spec.model_fields else ""
        return f"there is no setting {name!r}{above or closest(name, known)}"
    if place[0] == "tune" and name in _COMPARED_ON:
        return (
            f"{name} changes the tasks or the data, and meta-validation compares [[tune]] on the "
            "same ones. fix: put it under [settings] or [axes]"
        )
    return ""


def _check_values(path: Path, text: str, spec: Spec) -> None:
    """Try every config of the first seed; a wrong setting is named with its line."""
    for axes, row in product(_combinations(spec), _rows(spec)):
        for parts in _alternatives(spec, row, axes):
            try:
                _config(spec, 0, row, parts)
            except XmgError as error:
                where = _guilty(text, spec, parts, str(error))
                raise XmgError(f"{path}{where}{error}") from None


def _guilty(text: str, spec: Spec, parts: Sequence[Part], error: str) -> str:
    """`, line N: ` of the last part that sets what an error names."""
    names = re.findall(r"\w+", error.split(":", maxsplit=1)[0])
    for place, part in reversed(parts):
        for name in part:
            if name in names and place == ("axes",):
                i = spec.axes[name].index(part[name])
                return f"{line_of(text, 'axes', name, i)}: axes."
            if name in names:
                return f"{line_of(text, *place, name)}: "
    return ": "


def _check_reference(path: Path, text: str, spec: Spec) -> None:
    rows = _rows(spec)
    if label_of(spec.reference) in [row.label for row in rows]:
        return
    for file in (spec.source, spec.target):
        FeatureFile(file)  # one that is missing is the graver fault
    names = ", ".join(repr(row.label if row.place[0] == "variant" else row.system) for row in rows)
    if "reference" not in spec.model_fields_set:
        raise XmgError(
            f"{path}: it names no reference, which the other rows are tested against, and has no "
            f"'croma'. fix: reference = ..., above all tables: one of {names}"
        )
    raise XmgError(
        f"{path}{line_of(text, 'reference')}: reference {spec.reference!r} is none of the rows. "
        f"fix: one of {names}"
    )


def cells_of(spec: Spec) -> list[Cell]:
    """Every cell, seed by seed, so that a table is whole as early as can be."""
    cells = []
    for seed, axes, row in product(range(spec.seeds), _combinations(spec), _rows(spec)):
        alternatives = _alternatives(spec, row, axes)
        configs = tuple(_config(spec, seed, row, parts) for parts in alternatives)
        cells.append(Cell(row.label, row.system, axes, configs))
    return cells


def _combinations(spec: Spec) -> list[dict[str, Any]]:
    """Of the axes."""
    return [dict(zip(spec.axes, values, strict=True)) for values in product(*spec.axes.values())]


def _alternatives(spec: Spec, row: Row, axes: Mapping[str, Any]) -> list[list[Part]]:
    """Settings of a cell, from each of which one config is made; later parts win."""
    parts: list[Part] = [
        ((), {"shots": tuple(spec.shots)}),
        (("settings",), spec.settings),
        (row.place, row.own),
        (("axes",), axes),
    ]
    if row.system not in TRAINED or not spec.tune:
        return [parts]
    return [[*parts, (("tune", i), one)] for i, one in enumerate(spec.tune)]


def _config(spec: Spec, seed: int, row: Row, parts: Sequence[Part]) -> Config:
    found: dict[str, Any] = {n: path.resolve() for n in FILES if (path := getattr(spec, n))}
    found["seed"] = seed
    for _, part in parts:
        found |= part
    return make_config(**found, **({"system": row.system} if row.system in TRAINED else {}))


def _all_parts(spec: Spec) -> list[Part]:
    """All settings that a spec names."""
    return [
        (("settings",), spec.settings),
        (("axes",), spec.axes),
        *((row.place, row.own) for row in _rows(spec)),
        *((("tune", i), one) for i, one in enumerate(spec.tune)),
    ]


def _rows(spec: Spec) -> list[Row]:
    plain = [Row(label_of(n), n, {}, ("systems", i)) for i, n in enumerate(spec.systems)]
    own = [
        Row(
            str(row.get("label", label_of(str(row.get("system", ""))))),
            str(row.get("system", "")),
            {k: v for k, v in row.items() if k not in {"label", "system"}},
            ("variant", i),
        )
        for i, row in enumerate(spec.variant)
    ]
    return [*plain, *own]


def label_of(system: str) -> str:
    """A system's row in the tables; other labels stay as they are."""
    return SYSTEMS[system].title if system in SYSTEMS else system
