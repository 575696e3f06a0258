"""Features as a NumPy array file, with a CSV beside it for what belongs to each row."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.exchange.arrays import Table, check_dtype, rows_of
from xmg.cache.names import check_ids, chosen
from xmg.cache.outputs import blocks_of, required_file
from xmg.cache.read import FeatureFile, decode

Columns = Mapping[str, Sequence[str]]
LENGTHS: Final = "n_frames"
RESERVED: Final = ("id", "label", LENGTHS)  # no further column of the CSV may be called so


def write_npy(file: FeatureFile, out: BinaryIO) -> None:
    """Write the features (N, D), or all frames (T, D), block by block."""
    rows = file.frames if file.is_sequence else file.features
    header = {"descr": rows.dtype.str, "fortran_order": False, "shape": rows.shape}
    np.lib.format.write_array_header_1_0(out, header)
    for _, block in blocks_of(file):
        for part in [block] if isinstance(block, np.ndarray) else block:
            out.write(np.ascontiguousarray(part).data)


def write_rows(file: FeatureFile, columns: Mapping[str, str], out: BinaryIO) -> None:
    """Write a CSV in UTF-8: id, label ("" = unlabelled), n_frames of sequences, columns.

    columns: name in the CSV of each further column of the file.
    """
    text = io.TextIOWrapper(out, "utf-8", newline="")
    table = csv.writer(text)
    lengths = [LENGTHS] if file.is_sequence else []
    table.writerow(["id", "label", *lengths, *columns.values()])
    for rows, _ in blocks_of(file):
        table.writerows(_fields(file, columns, rows))
    text.detach()  # flushed; the stream below is not ours to close


def _fields(
    file: FeatureFile, columns: Mapping[str, str], rows: npt.NDArray[np.int64]
) -> Iterator[tuple[Any, ...]]:
    names = [name or "" for name in file.class_names(rows)]
    fields: list[Sequence[Any]] = [decode(file.ids[rows]), names]
    if file.is_sequence:
        fields.append((file.offsets[rows + 1] - file.offsets[rows]).tolist())
    fields += [decode(file.array(f"columns/{name}")[rows]) for name in columns]
    return zip(*fields, strict=True)


def read_npy(
    path: Path,
    columns: Columns | None = None,
    *,
    id_column: str | None = None,
    label_column: str | None = None,
) -> Table:
    """Map an array (N, D) of floats, with the columns of a table that has a row for each.

    A column `n_frames` says that the array is frames (T, D), and how many each row has. Without
    a table ids are row numbers, and nothing is labelled. Nothing is unpickled.
    Raises XmgError where the file or the columns are none such.
    """
    array = _open(path)
    if columns is None:
        return Table(rows_of(array))
    key = chosen(f"the table of {path}", columns, id_column, "id")
    label = chosen(f"the table of {path}", columns, label_column, "label")
    taken = {key, label, LENGTHS}
    n_rows = len(next(iter(columns.values())))
    if LENGTHS not in columns and n_rows != len(array):
        raise XmgError(
            f"{path} has {len(array):,} rows, and its table {n_rows:,}. "
            "fix: a line below the header for each row, in the same order"
        )
    features = _split(path, array, columns[LENGTHS]) if LENGTHS in columns else array
    if key:
        check_ids(f"the table of {path}", columns[key])
    return Table(
        rows_of(features),
        columns[key] if key else None,
        [name or None for name in columns[label]] if label else None,
        {name: values for name, values in columns.items() if name not in taken},
    )


def _open(path: Path) -> npt.NDArray[Any]:
    required_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a header that makes no sense can end in any of them
        raise XmgError(f"{path} is not a readable .npy file of numbers ({error})") from error
    if not isinstance(array, np.ndarray):
        raise XmgError(f"{path} is an .npz archive. fix: np.save the array that you mean")
    check_dtype(str(path), array.dtype)
    if array.ndim != 2:
        raise XmgError(f"{path} has the shape {array.shape}; needed is (N, D), a row per sample")
    return np.asarray(array)  # a plain view: slices of np.memmap are slow


def _split(path: Path, frames: npt.NDArray[Any], lengths: Sequence[str]) -> list[npt.NDArray[Any]]:
    """Views of the frames of each row."""
    for row, length in enumerate(lengths, start=1):
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise XmgError(f"row {row} of the table of {path}: {LENGTHS} is {length!r}, no number")
    ends = np.cumsum([int(length) for length in lengths])
    if ends[-1] != len(frames):
        raise XmgError(
            f"{path} has {len(frames):,} frames, and {LENGTHS} of its table sums to {ends[-1]:,}"
        )
    return np.split(frames, ends[:-1])
