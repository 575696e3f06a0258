"""What an unfinished file already holds: a plan, and one journal for each writer.

A journal is lines of `CRC-32 JSON`. A line is added only once the rows that it speaks of are on
the disk, so every line that reads back whole is true, whenever the power went.
"""

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from xmg.cache.errors import XmgError
from xmg.cache.writing import disk, lock


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of the file to be, and the fingerprint of what goes into it."""

    fingerprint: str
    n_inputs: int
    dim: int
    dtype: str
    sequences: bool
    spec: Mapping[str, Any]
    rows_offset: int  # byte at which the rows begin in each writer's file

    def save(self, folder: Path) -> None:
        """Write `plan.json`."""
        disk.write_file(folder / "plan.json", json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read `plan.json`; None where there is none. Raises XmgError where it is not ours."""
        path = folder / "plan.json"
        try:
            return cls(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (TypeError, ValueError):
            raise XmgError(f"{path} is damaged. fix: --overwrite, or another output") from None

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, or of one frame."""
        return self.dim * np.dtype(self.dtype).itemsize


@dataclass(slots=True)
class Record:
    """Inputs first, ..., first + n - 1 are done, their rows at `at`, ... of the writer's file.

    lengths: rows of each input, [] where each has one. rejects: reason by input number; a
    rejected input has length 0 in a file of sequences and an unused row in a dense one.
    checksums: CRC-32 by block of the writer's file, for blocks that it completed.
    """

    first: int
    n: int
    at: int
    lengths: list[int] = field(default_factory=list)
    rejects: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)

    @property
    def n_rows(self) -> int:
        """Rows that the record covers in the writer's file."""
        return sum(self.lengths) if self.lengths else self.n

    def extend(self, later: "Record") -> bool:
        """Take `later` in where it goes on where this one ends; returns whether it does."""
        if (self.first + self.n, self.at + self.n_rows) != (later.first, later.at):
            return False
        self.n += later.n
        self.lengths += later.lengths
        self.rejects |= later.rejects
        self.checksums |= later.checksums
        return True


class Journal:
    """The records of one writer, appended as they become true."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not lock.is_free(self._fd):
            os.close(self._fd)
            raise XmgError(f"{path} is in use: each writer needs a name of its own")
        self.records, size = _read(path)
        disk.truncate(self._fd, size)  # half a line, left by whoever was killed while adding it

    def add(self, records: Sequence[Record]) -> None:
        """Append records whose rows are on the disk; returns when they are there too."""
        disk.append(self._fd, b"".join(map(_line, records)))
        disk.sync(self._fd)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_journals(folder: Path) -> dict[str, list[Record]]:
    """Every writer's records by its name, in name order."""
    paths = sorted(folder.glob("journal.*"))
    return {path.name.removeprefix("journal."): _read(path)[0] for path in paths}


def _line(record: Record) -> bytes:
    text = json.dumps(asdict(record), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(path: Path) -> tuple[list[Record], int]:
    """Records up to the first line that is not whole, and the bytes they fill."""
    records: list[Record] = []
    size = 0
    if not path.exists():
        return records, size
    with open(path, "rb") as file:
        for line in file:
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
                break
            records.append(Record(**json.loads(text)))
            size += len(line)
    return records, size
