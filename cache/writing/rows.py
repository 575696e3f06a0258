"""Write rows of an unfinished file: any process, any order, no lock on the way."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from xmg.cache.checksums import RunningChecksums
from xmg.cache.errors import XmgError
from xmg.cache.identity import Reject
from xmg.cache.writing import disk, lock
from xmg.cache.writing.journal import Journal, Plan, Record

Outputs = npt.NDArray[Any] | Sequence[npt.NDArray[Any] | Reject]
_COMMIT_SECONDS: Final = 2.0
_SEND_BYTES: Final = 1 << 24  # smaller, and the disk waits for commands; larger, and for bytes


class RowWriter:
    """One of the writers of an unfinished file; each has a name of its own.

    Dense rows go to their place in one file that all writers share, sequences to the end of a
    file of the writer. Every two seconds a thread brings them to the disk and then says so in the
    journal. The caller sees to it that no input is put twice. Raises XmgError where another
    process writes under the same name.
    """

    def __init__(self, folder: Path, name: str = "main") -> None:
        plan = Plan.load(folder)
        if plan is None:
            raise XmgError(f"{folder} holds no unfinished feature file")
        self.plan, self._dtype = plan, np.dtype(plan.dtype).newbyteorder("<")
        with ExitStack() as opened:  # what a later one cannot be opened beside is closed again
            self._shared = lock.share(folder / "workers")
            opened.callback(os.close, self._shared)
            self._journal = Journal(folder / f"journal.{name}")
            opened.callback(self._journal.close)
            path = rows_path(folder, plan, name)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            opened.callback(os.close, self._fd)
            disk.sync_folder(folder)
            self._files = opened.pop_all()
        self._end = max((r.at + r.n_rows for r in self._journal.records), default=0)
        self._checksums = RunningChecksums()
        self._waiting: list[Record] = []
        self._unsent: list[tuple[int, int]] = []
        self._committed_at = time.monotonic()
        self._committer, self._sender, self._checker = (ThreadPoolExecutor(1) for _ in range(3))
        self._commit: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def put(self, first: int, outputs: Outputs) -> None:
        """Write the outputs of inputs first, first + 1, ...: (D,) rows, (T, D) frames, Rejects.

        A row with NaN or infinite values, or that overflows the file's dtype, becomes a reject.
        Raises XmgError where an output has another shape, or past the last input.
        """
        if not len(outputs):
            return
        if first < 0 or first + len(outputs) > self.plan.n_inputs:
            raise XmgError(f"more outputs than the {self.plan.n_inputs} listed inputs")
        stacked = None if self.plan.sequences else _stacked(outputs)
        if stacked is None or not self._put_dense(first, stacked):
            self._put_parts(first, outputs)

    def close(self) -> None:
        """Bring everything to the disk and let go."""
        try:
            self._flush()
        finally:
            for thread in (self._committer, self._sender, self._checker):
                thread.shutdown()
            self._files.close()

    def _put_dense(self, first: int, outputs: npt.NDArray[Any]) -> bool:
        """Write (n, D) rows, while another thread reads them; returns whether all are finite."""
        self._check_shape(first, outputs)
        rows = _cast(outputs, self._dtype)
        checked = self._checker.submit(self._checksums_of_finite, first, rows)
        try:
            self._write(first, rows)
        finally:
            checksums = checked.result()  # the caller may change its rows from here on
        if checksums is not None:
            self._note(Record(first, len(rows), first, [], {}, checksums))
        return checksums is not None

    def _checksums_of_finite(self, at: int, rows: npt.NDArray[Any]) -> dict[str, int] | None:
        return self._checksums.add(at, rows) if _all_finite(rows) else None

    def _put_parts(self, first: int, outputs: Outputs) -> None:
        rows, lengths, rejects = self._rows_of(first, outputs)
        at = self._end if self.plan.sequences else first
        self._write(at, rows)
        self._end = at + len(rows)
        checksums = self._checksums.add(at, rows)
        self._note(Record(first, len(outputs), at, lengths, rejects, checksums))

    def _write(self, at: int, rows: npt.NDArray[Any]) -> None:
        start = self.plan.rows_offset + at * self.plan.row_bytes
        disk.write_at(self._fd, _bytes(rows), start)
        self._unsent.append((start, start + rows.nbytes))
        if sum(end - start for start, end in self._unsent) >= _SEND_BYTES:
            start, end = min(self._unsent)[0], max(end for _, end in self._unsent)
            self._unsent = []
            self._sender.submit(disk.send, self._fd, start, end - start)

    def _rows_of(
        self, first: int, outputs: Outputs
    ) -> tuple[npt.NDArray[Any], list[int], dict[str, str]]:
        """Return rows (R, D) in the file's dtype, rows of each sequence, reasons by input."""
        parts = [self._part(first + i, output) for i, output in enumerate(outputs)]
        rejects = {str(first + i): p.reason for i, p in enumerate(parts) if isinstance(p, Reject)}
        empty = np.zeros((0 if self.plan.sequences else 1, self.plan.dim), self._dtype)
        kept = [empty if isinstance(part, Reject) else part for part in parts]
        lengths = [len(part) for part in kept] if self.plan.sequences else []
        return np.concatenate(kept), lengths, rejects

    def _part(self, i: int, output: npt.NDArray[Any] | Reject) -> npt.NDArray[Any] | Reject:
        """One input's rows (T, D), T = 1 in a dense file, in the file's dtype."""
        if isinstance(output, Reject):
            return output
        raw = np.asarray(output) if self.plan.sequences else np.asarray(output)[None]
        self._check_shape(i, raw)
        rows = _cast(raw, self._dtype)
        if _all_finite(rows):
            return rows
        if not np.isfinite(raw).all():
            return Reject("NaN or infinite values among its features")
        fix = "; --dtype float32 holds them" if _all_finite(_cast(raw, np.dtype("<f4"))) else ""
        return Reject(f"values overflow {self._dtype.name}{fix}")

    def _check_shape(self, i: int, rows: npt.NDArray[Any]) -> None:
        if rows.ndim != 2 or rows.shape[1] != self.plan.dim or not len(rows):
            wanted = f"(T, {self.plan.dim})" if self.plan.sequences else f"({self.plan.dim},)"
            shape = rows.shape if self.plan.sequences else rows.shape[1:]
            raise XmgError(f"features of input {i} are {shape}, not {wanted}")

    def _note(self, record: Record) -> None:
        if not (self._waiting and self._waiting[-1].extend(record)):
            self._waiting.append(record)
        if time.monotonic() - self._committed_at > _COMMIT_SECONDS:
            self._start_commit()

    def _start_commit(self) -> None:
        self._finish_commit()
        records, self._waiting = self._waiting, []
        self._committed_at = time.monotonic()
        self._commit = self._committer.submit(self._bring_to_disk, records)

    def _bring_to_disk(self, records: Sequence[Record]) -> None:
        disk.sync(self._fd)
        self._journal.add(records)

    def _finish_commit(self) -> None:
        """Wait for the commit on its way; a disk that filled up is noticed here."""
        commit, self._commit = self._commit, None
        if commit:
            commit.result()

    def _flush(self) -> None:
        if self._waiting:
            self._start_commit()
        self._finish_commit()


def rows_path(folder: Path, plan: Plan, name: str) -> Path:
    """Where the writer `name` puts its rows."""
    return folder / (f"rows.{name}" if plan.sequences else "rows")


def _stacked(outputs: Outputs) -> npt.NDArray[Any] | None:
    """All outputs as one array, or None where they are not of one shape."""
    if isinstance(outputs, np.ndarray):
        return outputs
    rows = [np.asarray(output) for output in outputs if not isinstance(output, Reject)]
    if len(rows) < len(outputs) or any(row.shape != rows[0].shape for row in rows):
        return None
    return np.stack(rows)


def _bytes(rows: npt.NDArray[Any]) -> memoryview:
    return rows.reshape(-1).view(np.uint8).data


def _cast(rows: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(rows, dtype)


_EXPONENT: Final = {2: (np.uint16, 0x7C00), 4: (np.uint32, 0x7F800000)}
_CHUNK: Final = 1 << 16


def _all_finite(rows: npt.NDArray[Any]) -> bool:
    """Whether no exponent is all ones: on the bits, as np.isfinite of float16 is 8x slower."""
    word, ones = _EXPONENT[rows.itemsize]
    bits = rows.view(word).reshape(-1)
    parts = (bits[i : i + _CHUNK] & ones for i in range(0, len(bits), _CHUNK))
    return all(int(part.max()) != ones for part in parts)
