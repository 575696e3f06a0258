"""Make a feature file from others: join them, or take a part of one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.identity import Contents, FeatureSpec, Listing, Reject, differences
from xmg.cache.names import closest
from xmg.cache.outputs import BLOCK_ROWS, Draft, blocks_of, write_draft
from xmg.cache.read import FeatureFile, decode
from xmg.cache.verify import require_whole
from xmg.cache.write import Notify
from xmg.cache.writing.rows import Outputs

Rejects = dict[str, str]  # id -> reason


def merge(
    files: Sequence[FeatureFile],
    out: Path,
    *,
    overwrite: bool = False,
    notify: Notify = lambda message: None,
) -> FeatureFile:
    """Write the rows of all files to `out`, file after file; memory stays flat.

    A column that a file lacks is "" there. Rejects are kept, but for an id that is a row of
    another file. Contents are kept where every file has them. Dataset names are joined by "+".
    Raises XmgError where a file is damaged, where they differ in anything that decides the
    features, where two hold the same id, or where `out` holds other features and overwrite is
    false.
    """
    if len(files) < 2:
        raise XmgError("a merge takes two files or more")
    for file in files:
        require_whole(file)
    for file in files[1:]:
        _check_alike(files[0], file)
    ids = [decode(file.ids) for file in files]
    _check_ids(files, ids)
    known = set(chain.from_iterable(ids))
    rejects = {name: why for file in reversed(files) for name, why in file.rejects}
    rejects = {name: why for name, why in rejects.items() if name not in known}
    names = "+".join(dict.fromkeys(file.dataset for file in files))
    columns = sorted({name for file in files for name in file.columns})
    kept = all(len(file.contents) for file in files)
    listing = _listing(
        list(chain.from_iterable(ids)),
        list(chain.from_iterable(file.class_names() for file in files)),
        {c: list(chain.from_iterable(_column(file, c) for file in files)) for c in columns},
        np.concatenate([file.contents for file in files]) if kept else files[0].contents[:0],
        rejects,
    )
    blocks = chain.from_iterable(map(_outputs, files))
    draft = _draft(files[0], listing, chain(blocks, _rejected(rejects)), names)
    return write_draft(out, draft, overwrite=overwrite, notify=notify)


def select(
    file: FeatureFile,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    part: str | None = None,
    overwrite: bool = False,
    notify: Notify = lambda message: None,
) -> FeatureFile:
    """Write the rows of some classes, or of some ids, or of both, to `out`, in the file's order.

    part: name of one of the parts that stand side by side in its features, such as "layer 6 mean".
    An id that the file has rejected stays a reject where only ids, or nothing, are asked for.
    Raises XmgError where the file is damaged, for a class, id or part that it lacks, naming the
    closest, where no row is left, or where `out` holds other features and overwrite is false.
    """
    if classes is None and ids is None and part is None:
        raise XmgError("a selection takes classes, ids or a part")
    require_whole(file)
    columns, spec = _part(file, part)
    names = decode(file.ids)
    wanted = np.ones(len(file), np.bool_)
    rejects: Rejects = {}
    if classes is not None:
        _check_known(file, "class", classes, file.classes)
        numbers = [file.number_of_class[name] for name in dict.fromkeys(classes)]
        wanted &= np.isin(file.labels, numbers)
    if ids is None and classes is None:
        rejects = dict(file.rejects)
    if ids is not None:
        asked = set(ids)
        _check_known(file, "id", ids, [*names, *(name for name, _ in file.rejects)])
        wanted &= np.fromiter((name in asked for name in names), np.bool_, len(names))
        rejects = {n: why for n, why in file.rejects if n in asked and classes is None}
    rows = np.flatnonzero(wanted)
    if not len(rows):
        raise XmgError(f"{file.path}: no row is left. fix: ask for other classes or ids")
    labels = file.class_names()
    listing = _listing(
        [names[i] for i in rows],
        [labels[i] for i in rows],
        {c: decode(file.array(f"columns/{c}")[rows]) for c in file.columns},
        file.contents[rows] if len(file.contents) else file.contents,
        rejects,
    )
    blocks = _outputs(file, rows)
    if part is not None:
        blocks = ([np.asarray(row)[..., columns] for row in block] for block in blocks)
    dim = len(range(file.dim)[columns])
    draft = Draft(
        spec, listing, dim, file.dtype.name, file.is_sequence, chain(blocks, _rejected(rejects))
    )
    return write_draft(out, draft, overwrite=overwrite, notify=notify)


def _part(file: FeatureFile, name: str | None) -> tuple[slice, FeatureSpec]:
    """The columns of a part, and what is to be known of features that are it alone."""
    if name is None:
        return slice(None), file.spec
    recipe = dict(file.spec.preprocessing)
    parts: dict[str, int] = recipe.pop("parts", {})
    if not parts:
        raise XmgError(f"{file.path} has no parts: its features are one piece")
    _check_known(file, "part", [name], list(parts))
    start = sum(width for other, width in list(parts.items())[: list(parts).index(name)])
    spec = replace(file.spec, preprocessing={**recipe, "part": name})
    return slice(start, start + parts[name]), spec


def _draft(file: FeatureFile, listing: Listing, blocks: Iterable[Outputs], dataset: str) -> Draft:
    spec = replace(file.spec, dataset=dataset)
    return Draft(spec, listing, file.dim, file.dtype.name, file.is_sequence, blocks)


def _listing(
    ids: list[str],
    labels: list[str | None],
    columns: dict[str, list[str]],
    contents: Contents,
    rejects: Rejects,
) -> Listing:
    """List rejects after all rows, so that the rows lie where they will stay."""
    n = len(rejects)
    padded = np.concatenate([contents, np.zeros((n, 2), np.uint64)]) if len(contents) else contents
    columns = {name: [*values, *[""] * n] for name, values in columns.items()}
    return Listing([*ids, *rejects], [*labels, *[None] * n], columns, padded)


def _outputs(file: FeatureFile, rows: npt.NDArray[np.int64] | None = None) -> Iterator[Outputs]:
    for _, outputs in blocks_of(file, rows):
        yield outputs


def _rejected(rejects: Rejects) -> Iterator[Outputs]:
    reasons = [Reject(reason) for reason in rejects.values()]
    for first in range(0, len(reasons), BLOCK_ROWS):
        yield reasons[first : first + BLOCK_ROWS]


def _column(file: FeatureFile, name: str) -> list[str]:
    values = file.column(name)
    return [""] * len(file) if values is None else decode(values)


def _check_alike(first: FeatureFile, file: FeatureFile) -> None:
    left, right = _decisive(file), _decisive(first)
    which = differences(left, right)
    if which:
        raise XmgError(
            f"{file.path} cannot join {first.path}: {which}.\nfix: extract both in the same way"
        )


def _decisive(file: FeatureFile) -> dict[str, object]:
    kind = "sequences" if file.is_sequence else "rows"
    spec = asdict(replace(file.spec, dataset=""))
    return {**spec, "dtype": file.dtype.name, "dim": file.dim, "kind": kind}


def _check_ids(files: Sequence[FeatureFile], ids: Sequence[Sequence[str]]) -> None:
    owner: dict[str, int] = {}
    for number, names in enumerate(ids):
        for name in names:
            if owner.setdefault(name, number) != number:
                raise XmgError(
                    f"{files[owner[name]].path} and {files[number].path} both hold the id {name!r}."
                    "\nfix: take one of the two by xmg cache select, or make ids unique"
                )


def _check_known(file: FeatureFile, kind: str, asked: Sequence[str], known: Sequence[str]) -> None:
    there = set(known)
    unknown = [name for name in asked if name not in there]
    if unknown:
        raise XmgError(
            f"{file.path} lacks the {kind} {unknown[0]!r}{closest(unknown[0], known)}"
            + (f"; {len(unknown):,} are unknown in all" if len(unknown) > 1 else "")
        )
