"""Layout "manifest": a CSV, TSV or JSONL file with one input per row."""

import csv
import json
import os
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from typing import Final, TextIO

from xmg.cache import XmgError
from xmg.cache.counted import counted
from xmg.cache.names import check_ids
from xmg.extract.sources.samples import Samples
from xmg.extract.types import Content, Modality, Source

SUFFIXES: Final = (".csv", ".tsv", ".jsonl")
_CONTENT: Final[Mapping[Modality, tuple[str, ...]]] = {
    "image": ("path", "image", "file", "filename"),
    "audio": ("path", "audio", "file", "filename"),
    "text": ("text", "path"),
}
_LONGEST: Final = (1 << 31) - 1  # letters of a field: `read_text` says which text is too long
Columns = dict[str, list[str]]


def open_manifest(
    file: Path,
    modality: Modality,
    *,
    id_column: str | None = None,
    content_column: str | None = None,
    label_column: str | None = None,
    allow_outside: bool = False,
) -> Source:
    """List the rows of `file` in their order.

    Content is a path (from the manifest's folder) or, for text, the text itself; the default
    column is the first of `path`, the modality's name, `file`, `filename`, or for text of
    `text`, `path`. An `id` column is optional: the row's path stands in, or for text its
    number. So is `label`; an empty label means unlabelled. Every other column is kept.
    Raises XmgError for a missing column (naming those there are), a malformed row, no rows,
    an id that occurs twice, or a path that leads out of the manifest's folder, links resolved,
    unless `allow_outside`.
    """
    names = {id_column or "id", label_column or "label"}
    columns = read_columns(file, names)
    content = content_column or _content_column(file, columns, modality, names)
    label = label_column or ("label" if "label" in columns else None)
    key = id_column or ("id" if "id" in columns else None)
    is_path = modality != "text" or content == "path"
    values = pick(file, columns, content)
    if is_path and not allow_outside:
        _check_inside(file, values)
    ids = pick(file, columns, key) if key else _own_ids(values, is_path)
    check_ids(str(file), ids)
    labels = [v or None for v in pick(file, columns, label)] if label else [None] * len(values)
    get = partial(_content, file.parent if is_path else None, values)
    others = {name: v for name, v in columns.items() if name not in (key, content, label)}
    return Source(file.stem, Samples(ids, labels, get), others)


def read_columns(file: Path, names: Collection[str] = ("id", "label")) -> Columns:
    """Read a .csv, .tsv or .jsonl file as name -> values, all text; a gap is "".

    names: columns of names, which JSON lists and objects are not. Raises XmgError where the file
    cannot be read, a row is malformed, or there are no rows.
    """
    columns: Columns = {}
    n_rows = 0
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for row in (
                _jsonl(file, lines, names) if file.suffix == ".jsonl" else _table(file, lines)
            ):
                for name, value in row.items():
                    if name not in columns:
                        columns[name] = [""] * n_rows
                    columns[name].append(value)
                n_rows += 1
                for values in columns.values():
                    values.extend([""] * (n_rows - len(values)))
    except UnicodeDecodeError as error:
        raise XmgError(f"cannot read {file} as UTF-8: {error}. fix: save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or error
        raise XmgError(f"cannot read {file}: {reason}. fix: check its permissions") from error
    if not n_rows:
        what = "has no rows below its header" if file.stat().st_size else "is empty"
        raise XmgError(f"{file} {what}. fix: add a row for each input")
    if not columns:
        raise XmgError(f'{file} names no column: its rows are empty. fix: {{"path": ...}} a line')
    return columns


def pick(file: Path, columns: Columns, name: str) -> list[str]:
    """Return one column; raises XmgError that lists the columns there are, closest first."""
    if name in columns:
        return columns[name]
    close = get_close_matches(name, columns, 1, 0)
    raise XmgError(
        f"{file} has no column {name!r}; did you mean {close[0]!r}? "
        f"fix: one of its columns, {', '.join(columns)}"
    )


def _content_column(file: Path, columns: Columns, modality: Modality, names: set[str]) -> str:
    """The column of contents by its name; raises XmgError with the likeliest that is no name."""
    wanted = _CONTENT[modality]
    found = [name for name in wanted if name in columns]
    if found:
        return found[0]
    close = [match for name in wanted for match in get_close_matches(name, columns, 1)]
    likely = [name for name in (*close, *columns) if name not in names]
    raise XmgError(
        f"{file} has no column {' or '.join(map(repr, wanted))} for {modality} content; its "
        f"columns are {', '.join(columns)}.\n"
        f"fix: {_naming(likely, bool(close)) if likely else f'add a column {wanted[0]}'}"
    )


def _naming(likely: Sequence[str], is_close: bool) -> str:
    """Of several whose names say nothing of it only a person knows which one holds the content."""
    quoted = [shlex.quote(name) for name in dict.fromkeys(likely)]  # which may hold spaces
    if is_close or len(quoted) == 1:
        return f"--content-column {quoted[0]}"
    return f"--content-column and one of {', '.join(quoted)}"


def _own_ids(values: Sequence[str], is_path: bool) -> list[str]:
    """Ids from paths, or zero-padded row numbers, which also stand in for an empty path."""
    width = max(6, len(str(len(values))))
    return [v if is_path and v else f"{i:0{width}d}" for i, v in enumerate(values)]


def _check_inside(file: Path, paths: Iterable[str]) -> None:
    """Raise XmgError for a path that leads out of the manifest's folder, links resolved.

    Each folder is resolved and listed once: files are many.
    """
    root = os.path.realpath(file.parent)
    inside = partial(_is_inside, root, file.parent)
    folder_inside, links = cache(inside), cache(lambda folder: _links(file.parent / folder))
    for row, path in enumerate(paths, start=1):
        folder, name = os.path.split(path)
        goes_on = name == ".." or name in links(folder)
        if not (inside(path) if goes_on else folder_inside(folder)):
            raise XmgError(
                f"{file}, row {row}: {path!r} lies outside the manifest's folder. fix: move the "
                f"manifest to a folder above all its files, or --allow-outside to trust it"
            )


def _is_inside(root: str, base: Path, path: str) -> bool:
    try:
        return os.path.commonpath((root, os.path.realpath(base / path))) == root
    except ValueError:  # NUL or half a character: no name of a file, so rejected when read
        return True


def _links(folder: Path) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())
    except (OSError, ValueError):  # no such folder: its files are rejected when read
        return frozenset()


def _content(folder: Path | None, values: Sequence[str], row: int) -> Content:
    return values[row] if folder is None else folder / values[row]


def _table(file: Path, lines: TextIO) -> Iterator[dict[str, str]]:
    """Rows of a CSV or TSV. strict: a stray quote must not swallow the rows after it."""
    reader = csv.reader(lines, "excel-tab" if file.suffix == ".tsv" else "excel", strict=True)
    begun = 1  # line
    try:
        with _long_fields():
            header = next(filter(None, reader), [])  # below empty lines
            _check_header(file, header)
            begun = reader.line_num + 1
            for fields in reader:
                if fields and len(fields) != len(header):
                    raise XmgError(_other_length(f"{file}, line {begun}", fields, header))
                if fields:
                    yield dict(zip(header, fields, strict=True))
                begun = reader.line_num + 1
    except csv.Error as error:
        raise XmgError(
            f"{file}, line {begun}: a quote that opens at about here does not end well ({error}). "
            "fix: close it, and double a quote inside of quotes"
        ) from error


@contextmanager
def _long_fields() -> Iterator[None]:
    former = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(former)


def _check_header(file: Path, header: Sequence[str]) -> None:
    if len(set(header)) < len(header):
        raise XmgError(f"{file} names a column twice: {', '.join(header)}. fix: rename one")
    found = next((c for c in ";\t," if len(header) == 1 and c in header[0]), None)
    if found:
        raise XmgError(
            f"{file} has one column, {header[0]!r}: its separator seems to be {found!r}. "
            "fix: save it with commas, or as .tsv with tabs"
        )


def _other_length(where: str, fields: Sequence[str], header: Sequence[str]) -> str:
    more = len(fields) > len(header)
    fix = "quote a field that holds the separator" if more else "leave a gap empty: a,,c"
    n_fields = counted(len(fields), "field")
    return f"{where}: {n_fields}, the header has {len(header)}. fix: {fix}"


def _jsonl(file: Path, lines: Iterable[str], names: Collection[str]) -> Iterator[dict[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise XmgError(
                f"{file}, line {number} is not JSON: {error}. fix: one object a line"
            ) from error
        if not isinstance(row, dict):
            raise XmgError(f"{file}, line {number} is no JSON object. fix: {{...}} on each line")
        for name in names:
            if isinstance(row.get(name), list | dict):
                raise XmgError(f"{file}, line {number}: {name!r} is {row[name]!r}. fix: one text")
        yield {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
