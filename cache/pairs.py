"""Which source rows go with which target rows: strong pairs by id, weak pairs by concept."""

import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.layout import STRUCTURE
from xmg.cache.names import closest
from xmg.cache.read import FeatureFile, decode
from xmg.cache.toml import read_toml

Rows = npt.NDArray[np.int64]
_IDS = ("source_id", "target_id")
_LOOKED_AT = 10_000  # ids among which the closest to an unknown one is sought


@dataclass(frozen=True, slots=True)
class PairedSets:
    """S sets as two CSR arrays: any (x_s, x_t) of X_s x X_t of one set is a positive pair.

    Set i holds source_rows[source_offsets[i]:source_offsets[i + 1]] and the like for the
    target. A row belongs to one set at most, so rows of other sets are true negatives.
    """

    names: tuple[str, ...]
    source_offsets: Rows  # (S + 1,)
    source_rows: Rows
    target_offsets: Rows  # (S + 1,)
    target_rows: Rows

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Concepts:
    """A concepts file: concept -> class names on either side, and the target's held-out classes."""

    path: Path
    source: Mapping[str, Sequence[str]]
    target: Mapping[str, Sequence[str]]
    validation: Sequence[str]  # target classes; empty = to be drawn
    test: Sequence[str]


def refuse_same(source: FeatureFile, target: FeatureFile) -> None:
    """Raise XmgError where both hold the same rows, by the checksums of all that is in them."""
    sums = [
        {n: f.array(n).tobytes() for n in f.names if n.startswith("checksums/") and n != STRUCTURE}
        for f in (source, target)
    ]
    if sums[0] == sums[1]:
        raise XmgError(
            f"{source.path} and {target.path} hold the same features. "
            "fix: name one file for each modality"
        )


def join_ids(source: FeatureFile, target: FeatureFile) -> tuple[Rows, Rows]:
    """Strong pairs: rows of equal id, as (source rows, target rows), in id order.

    Raises XmgError where no id occurs in both files.
    """
    shared, s, t = np.intersect1d(source.ids, target.ids, assume_unique=True, return_indices=True)
    if not len(shared):
        raise XmgError(
            f"no pairs: {source.path} has ids like {decode(source.ids[:1])[0]!r} and {target.path} "
            f"like {decode(target.ids[:1])[0]!r}, and none occurs in both.\n"
            "fix: extract both from manifests with equal ids, or pair classes by name: xmg pair "
            f"{shlex.join(map(str, (source.path, target.path)))} --by text -o concepts.toml, for "
            "--concepts concepts.toml"
        )
    return s.astype(np.int64), t.astype(np.int64)


def read_pairs(
    path: Path, source: FeatureFile, target: FeatureFile
) -> tuple[Rows, Rows, list[str] | None]:
    """Strong pairs of a table, CSV with columns source_id and target_id: their rows (P,) on either
    side, and the names of their sets where there is a column `set`.

    Raises XmgError where it cannot be read, lacks a column or a value, or names an unknown id.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise XmgError(f"{path} is not a readable CSV file: {error}") from error
    first = lines[0] if lines else {}
    if lacking := [name for name in _IDS if name not in first]:
        raise XmgError(
            f"{path} has no pairs with {' and '.join(lacking)}. "
            "fix: columns source_id,target_id and, where sets are known, set"
        )
    try:
        sides = [_rows_of_ids(path, lines, *s) for s in zip(_IDS, (source, target), strict=True)]
    except XmgError:
        named = [{line[column] for line in lines} for column in _IDS]
        _refuse_swapped(path, named, [set(decode(file.ids)) for file in (source, target)])
        raise
    if "set" not in first:
        return sides[0], sides[1], None
    for i, line in enumerate(lines):
        if not line["set"]:
            raise XmgError(f"{path}: pair {i + 1:,} has no set. fix: fill it, or drop the column")
    return sides[0], sides[1], [line["set"] for line in lines]


def _rows_of_ids(
    path: Path, lines: Sequence[Mapping[str, str]], column: str, file: FeatureFile
) -> Rows:
    row = {name: i for i, name in enumerate(decode(file.ids))}
    for i, line in enumerate(lines):
        if line[column] not in row:
            raise XmgError(
                f"{path}: pair {i + 1:,} names the {column} {line[column]!r}, which {file.path} "
                f"lacks{closest(line[column] or '', [*row][:_LOOKED_AT])}"
            )
    return np.array([row[line[column]] for line in lines], np.int64)


def check_disjoint(sets: PairedSets, source: FeatureFile, target: FeatureFile) -> None:
    """Raise XmgError where a row is in two sets: it would be its own negative."""
    for rows, offsets, file in (
        (sets.source_rows, sets.source_offsets, source),
        (sets.target_rows, sets.target_offsets, target),
    ):
        owner = np.repeat(np.arange(len(sets)), np.diff(offsets))
        order = np.lexsort((owner, rows))
        same = np.diff(rows[order]) == 0
        twice = np.flatnonzero(same & (np.diff(owner[order]) != 0))
        if len(twice):
            at = order[twice[0] : twice[0] + 2]
            name = decode(file.ids[rows[at[:1]]])[0]
            first, second = (sets.names[i] for i in owner[at])
            raise XmgError(
                f"{name!r} of {file.path} is paired in two sets, {first!r} and {second!r}, so it "
                "would be a negative of its own partner. fix: pairs that share a row in one set"
            )


def group_pairs(source: Rows, target: Rows, keys: Sequence[str]) -> PairedSets:
    """Gather pairs (P,) into sets by equal keys (P,), sets in key order."""
    names, codes = np.unique(np.asarray(keys), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(names)))])
    return PairedSets(tuple(names.tolist()), offsets, source[order], offsets.copy(), target[order])


def read_concepts(path: Path) -> Concepts:
    """Parse a concepts file.

        validation = ["rain", "wind"]              # optional: target classes to hold out
        test = ["cat", "cow"]
        [concept.dog]
        source = ["dog", "dalmatian"]
        target = ["dog_bark"]

    Raises XmgError where it is missing, is not TOML, or a concept lacks a side.
    """
    document = read_toml(path, "concepts file")
    _refuse_others(path, "", document, ("concept", *_PARTS))
    table = document.get("concept")
    if not isinstance(table, dict) or not table:
        raise XmgError(f"{path} names no concept. fix: add tables like [concept.dog]")
    sides = {side: {n: _names(path, n, c, side) for n, c in table.items()} for side in _SIDES}
    held = {part: _string_list(path, part, document.get(part, [])) for part in _PARTS}
    return Concepts(path, sides["source"], sides["target"], held["validation"], held["test"])


def concept_sets(concepts: Concepts, source: FeatureFile, target: FeatureFile) -> PairedSets:
    """Weak pairs: the rows of each concept's classes, concepts in file order.

    Raises XmgError where a class is unknown to its file, has no rows, or is in two concepts.
    """
    named = [{n for ns in side.values() for n in ns} for side in (concepts.source, concepts.target)]
    _refuse_swapped(concepts.path, named, [f.number_of_class.keys() for f in (source, target)])
    s_offsets, s_rows = _rows_of_concepts(concepts.path, concepts.source, source)
    t_offsets, t_rows = _rows_of_concepts(concepts.path, concepts.target, target)
    return PairedSets(tuple(concepts.source), s_offsets, s_rows, t_offsets, t_rows)


def class_numbers(names: Iterable[str], file: FeatureFile, where: str) -> list[int]:
    """Map class names to the file's class numbers; raises XmgError naming the closest class."""
    known, numbers = file.number_of_class, []
    for name in names:
        if name not in known:
            hint = closest(name, file.classes)
            raise XmgError(f"{where} names the class {name!r}, which {file.path} lacks{hint}")
        numbers.append(known[name])
    return numbers


def _refuse_swapped(path: Path, named: Sequence[Set[str]], known: Sequence[Set[str]]) -> None:
    """Raise XmgError where the names of either side are all in the other file, not in its own."""
    if named[0] <= known[1] and named[1] <= known[0] and not named[0] <= known[0]:
        raise XmgError(
            f"{path}: what it calls source is in the target file, and the other way round. "
            "fix: name the two files in the other order"
        )


_SIDES = ("source", "target")
_PARTS = ("validation", "test")


def _names(path: Path, concept: str, table: Any, side: str) -> list[str]:
    if isinstance(table, dict):
        _refuse_others(path, f"concept.{concept}.", table, _SIDES)
    names = table.get(side) if isinstance(table, dict) else None
    if not names:
        raise XmgError(f"{path}: concept {concept!r} needs a non-empty list `{side} = [...]`")
    return _string_list(path, f"concept.{concept}.{side}", names)


def _refuse_others(path: Path, prefix: str, table: Mapping[str, Any], keys: Sequence[str]) -> None:
    """A key in the wrong place would otherwise be passed over without a word."""
    for key in table:
        if key not in keys:
            raise XmgError(
                f"{path}: `{prefix}{key}` means nothing; here may stand {', '.join(keys)}. "
                "fix: correct its name, and put validation and test above the first [concept.*]"
            )


def _string_list(path: Path, key: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise XmgError(f"{path}: `{key}` must be a list of class names")
    return value


def _rows_of_concepts(
    path: Path, concepts: Mapping[str, Sequence[str]], file: FeatureFile
) -> tuple[Rows, Rows]:
    owner: dict[str, str] = {}
    parts: list[Rows] = []
    for concept, names in concepts.items():
        for name in names:
            if owner.setdefault(name, concept) != concept:
                raise XmgError(f"{path}: class {name!r} is in both {owner[name]!r} and {concept!r}")
        numbers = class_numbers(dict.fromkeys(names), file, f"{path}, concept {concept!r},")
        rows = np.concatenate([file.rows_of(c) for c in numbers])
        if not len(rows):
            raise XmgError(f"{path}: no sample of concept {concept!r} is in {file.path}")
        parts.append(rows)
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)
    return offsets, np.concatenate(parts)
