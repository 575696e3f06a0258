"""Turn the rows of an unfinished file and its tables into the feature file."""

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xmg.cache import layout
from xmg.cache.checksums import block_checksums
from xmg.cache.writing import disk
from xmg.cache.writing.journal import Plan, Record
from xmg.cache.writing.rows import rows_path
from xmg.cache.writing.skeleton import Writes, skeleton

Tables = Mapping[str, layout.Array]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where each of N inputs is: `n_rows[i]` rows from row `at[i]` of the file of `writer[i]`.

    done (N,): whether the input was journaled; rejects: reason by input.
    """

    writers: tuple[str, ...]
    done: npt.NDArray[np.bool_]
    writer: npt.NDArray[np.int32]
    at: Ints
    n_rows: Ints
    rejects: Mapping[int, str]
    checksums: Mapping[str, Mapping[int, int]]  # writer -> block -> CRC-32

    @property
    def kept(self) -> Ints:
        """Inputs that become rows, in order."""
        kept = self.done.copy()
        kept[list(self.rejects)] = False
        return np.flatnonzero(kept)


def place(plan: Plan, journals: Mapping[str, Sequence[Record]]) -> Placement:
    """Read off the journals where each input is; the first record of an input counts."""
    n = plan.n_inputs
    done, writer = np.zeros(n, np.bool_), np.zeros(n, np.int32)
    at, n_rows = np.zeros(n, np.int64), np.ones(n, np.int64)
    rejects: dict[int, str] = {}
    checksums: dict[str, dict[int, int]] = {name: {} for name in journals}
    for w, (name, records) in enumerate(journals.items()):
        for record in records:
            inputs = slice(record.first, record.first + record.n)
            new = ~done[inputs]
            lengths = np.array(record.lengths or [1] * record.n, np.int64)
            starts = record.at + np.cumsum(lengths) - lengths
            for array, values in ((writer, w), (at, starts), (n_rows, lengths), (done, True)):
                array[inputs][new] = values[new] if isinstance(values, np.ndarray) else values
            for i, reason in record.rejects.items():
                if new[int(i) - record.first]:
                    rejects[int(i)] = reason
            checksums[name] |= {int(block): crc for block, crc in record.checksums.items()}
    return Placement(tuple(journals), done, writer, at, n_rows, rejects, checksums)


def assemble(
    folder: Path, plan: Plan, placed: Placement, tables: Tables, attributes: Mapping[str, Any]
) -> Path:
    """Make the whole file inside `folder`, synced and ready to be renamed; returns its path.

    Where all rows already lie in order in one file, that file becomes the feature file: what
    HDF5 writes before and after them is added, and no row moves. Else rows are copied once.
    """
    kept = placed.kept
    n_rows = int(placed.n_rows[kept].sum())
    name = "frames" if plan.sequences else "features"
    shapes = {table: (values.shape, values.dtype) for table, values in tables.items()}
    shapes[name] = ((n_rows, plan.dim), np.dtype(plan.dtype))
    written, extents = skeleton(name, shapes, attributes)
    pieces = list(_pieces(placed, kept))
    writer, at, length = pieces[0]
    in_place = (at, length, extents[name][0]) == (0, n_rows, plan.rows_offset)
    whole = rows_path(folder, plan, placed.writers[writer]) if in_place else folder / "whole"
    flags = os.O_RDWR | (0 if in_place else os.O_CREAT | os.O_TRUNC)
    fd = os.open(whole, flags, 0o666)
    try:
        if not in_place:
            _copy_rows(fd, extents[name][0], folder, plan, placed, pieces)
        known = placed.checksums[placed.writers[writer]] if in_place else {}
        _frame(fd, written, extents[name])
        rows = np.memmap(whole, extents[name][2], "r", extents[name][0], extents[name][1])
        sums = {name: _row_checksums(rows, known)}
        for table, values in tables.items():
            disk.write_at(fd, values.tobytes(), extents[table][0])
            sums[table] = block_checksums(values)
        for dataset, values in sums.items():
            disk.write_at(fd, values.tobytes(), extents[f"checksums/{dataset}"][0])
        _seal(fd, extents)
        disk.sync(fd)
    finally:
        os.close(fd)
    return whole


def _pieces(placed: Placement, kept: Ints) -> Iterator[tuple[int, int, int]]:
    """Yield (writer, first row, rows) of each stretch of kept rows that lies in one piece."""
    writer, at, n_rows = placed.writer[kept], placed.at[kept], placed.n_rows[kept]
    goes_on = (writer[1:] == writer[:-1]) & (at[1:] == at[:-1] + n_rows[:-1])
    starts = np.concatenate([[0], np.flatnonzero(~goes_on) + 1])
    lengths = np.add.reduceat(n_rows, starts)
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        yield int(writer[start]), int(at[start]), length


def _copy_rows(
    fd: int,
    to: int,
    folder: Path,
    plan: Plan,
    placed: Placement,
    pieces: Sequence[tuple[int, int, int]],
) -> None:
    """Copy the pieces behind one another, from byte `to` on."""
    for writer, at, length in pieces:
        source = os.open(rows_path(folder, plan, placed.writers[writer]), os.O_RDONLY)
        try:
            start = plan.rows_offset + at * plan.row_bytes
            _copy(source, start, fd, to, length * plan.row_bytes)
        finally:
            os.close(source)
        to += length * plan.row_bytes


def _copy(source: int, start: int, fd: int, to: int, n_bytes: int) -> None:
    for done in range(0, n_bytes, disk.COPY_BYTES):
        data = os.pread(source, min(disk.COPY_BYTES, n_bytes - done), start + done)
        disk.write_at(fd, data, to + done)


def _frame(fd: int, written: Writes, rows: layout.Extent) -> None:
    """Write what HDF5 has before and after the rows; what follows them there is dropped."""
    disk.truncate(fd, rows[0] + layout.size_of(rows))
    disk.truncate(fd, written.size)
    for offset, data in written.pieces:
        disk.write_at(fd, data, offset)


def _row_checksums(rows: layout.Array, known: Mapping[int, int]) -> npt.NDArray[np.uint32]:
    """Checksums of the rows' blocks, computed where the writer did not."""
    n_blocks = -(-len(rows) // layout.BLOCK_ROWS)
    whole_blocks = len(rows) // layout.BLOCK_ROWS
    if len(known) < whole_blocks // 2:
        return block_checksums(rows)
    sums = np.empty(n_blocks, np.uint32)
    for block in range(n_blocks):
        first = block * layout.BLOCK_ROWS
        crc = known.get(block) if block < whole_blocks else None
        part = rows[first : first + layout.BLOCK_ROWS]
        sums[block] = zlib.crc32(part.data) if crc is None else crc
    return sums


def _seal(fd: int, extents: Mapping[str, layout.Extent]) -> None:
    """Write the checksum of everything that is no table and no row."""
    crc = layout.structure_checksum(fd, extents)
    disk.write_at(fd, np.array([crc], "<u4").tobytes(), extents[layout.STRUCTURE][0])


def attributes_of(plan: Plan) -> dict[str, Any]:
    """Return the attributes of the file that a plan leads to."""
    spec = dict(plan.spec)
    for name in ("preprocessing", "versions"):
        spec[name] = json.dumps(spec[name], sort_keys=True)
    return {
        "format": layout.FORMAT,
        "format_version": layout.VERSION,
        "block_rows": layout.BLOCK_ROWS,
        **spec,
        "fingerprint": plan.fingerprint,
    }
