"""Write a feature file: rows survive any interruption, the whole file appears at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from xmg.cache import layout
from xmg.cache.errors import XmgError
from xmg.cache.identity import FeatureSpec, Listing, differences, fingerprint
from xmg.cache.writing import disk, lock
from xmg.cache.writing.assemble import Placement, assemble, attributes_of, place
from xmg.cache.writing.journal import Plan, read_journals
from xmg.cache.writing.part import put_missing
from xmg.cache.writing.rows import Outputs, RowWriter, rows_path
from xmg.cache.writing.tables import tables_of

Notify = Callable[[str], None]


class FeatureWriter:
    """Fill a feature file in any order; what an interrupted run did is kept, and known.

        with FeatureWriter(path, spec, listing, dim=512) as writer:
            for first in range(0, len(listing), 64):
                if not writer.done[first : first + 64].all():
                    writer.put(first, encode(first, 64))   # (n, D) rows, or arrays, or Reject

    Until the file appears whole under its name, rows lie in the folder `PATH.partial` beside it.
    Only one run at a time may write to a path; its worker processes each open a
    `RowWriter(writer.folder, name)` of their own. Leaving the block brings the file about, or
    raises XmgError where inputs got no outputs; after any exception the folder stays, and the
    same call goes on from there. `done` (N,) tells which inputs had their outputs at the start,
    or got them by `put`.

    discard: start over where the folder holds rows of other features, which else is an error.
    notify: called with what a person should know, such as that an interrupted run goes on.
    """

    def __init__(
        self,
        path: Path,
        spec: FeatureSpec,
        listing: Listing,
        dim: int,
        *,
        dtype: str = "float16",
        sequences: bool = False,
        discard: bool = False,
        notify: Notify = lambda message: None,
    ) -> None:
        if dtype not in layout.FEATURE_DTYPES:
            raise XmgError(f"dtype must be one of {layout.FEATURE_DTYPES}, got {dtype!r}")
        self.path = real_path(path)
        self.folder = partial_folder(self.path)
        self.listing, self._discard, self._notify = listing, discard, notify
        made_of = fingerprint(spec, listing, dtype)
        offset = layout.rows_offset()
        self._plan = Plan(made_of, len(listing), dim, dtype, sequences, asdict(spec), offset)
        self.done: npt.NDArray[np.bool_] = np.zeros(len(listing), np.bool_)
        self._lock = lock.Lock(self.folder / "lock", self.path)
        self._rows: RowWriter | None = None

    def __enter__(self) -> Self:
        with _telling(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            try:
                self._open()
            except BaseException:
                self._let_go()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        try:
            with _telling(self.path, self.folder):
                if self._rows:
                    self._rows.close()
                if kind is None:
                    self._finish()
        finally:
            self._let_go()

    def put(self, first: int, outputs: Outputs) -> None:
        """Write the outputs of inputs first, first + 1, ...; those already done stay as they are.

        Raises XmgError where an output has another shape, where there are more outputs than
        inputs, or where the disk is full.
        """
        stop = first + len(outputs)
        if first < 0 or stop > len(self.listing):
            raise XmgError(f"{self.path}: more outputs than the {len(self.listing)} listed inputs")
        with _telling(self.path, self.folder):
            if self._rows is None:
                self._rows = RowWriter(self.folder)
            put_missing(self._rows, self.done, first, outputs)

    def interrupted(self) -> npt.NDArray[np.bool_]:
        """(N,) which inputs an interrupted run did, and entering would take over; writes nothing.

        Raises XmgError where entering would, because the rows are of other features.
        """
        found = self._left()
        return np.zeros(len(self.listing), np.bool_) if found is None else found[1]

    def _open(self) -> None:
        if lock.is_shared(self.folder / "workers"):
            raise XmgError(f"worker processes of an earlier run still write to {self.folder}")
        if not self._continue():
            for path in self.folder.iterdir():
                if path.name not in ("lock", "workers"):
                    path.unlink()
            self._check_space()
            self._plan.save(self.folder)
            disk.sync_folder(self.folder.parent)

    def _continue(self) -> bool:
        """Take over what an interrupted run left; returns whether there was anything."""
        found = self._left()
        if found is None:
            return False
        self._plan, self.done = found
        n_done, since = int(self.done.sum()), self._lock.former
        run = f"a run begun {lock.ago(since)}" if since else "an earlier run"
        self._notify(f"going on: {run} did {n_done:,} of {len(self.listing):,} inputs")
        return True

    def _left(self) -> tuple[Plan, npt.NDArray[np.bool_]] | None:
        """Plan and done inputs of an interrupted run over the same features."""
        try:
            found = Plan.load(self.folder)
        except XmgError:
            if not self._discard:
                raise
            return None
        if found is None:
            return None
        wanted = self._plan
        same = (found.fingerprint, found.dim, found.sequences) == (
            wanted.fingerprint, wanted.dim, wanted.sequences,
        )  # fmt: skip
        placed = place(found, read_journals(self.folder))
        done = placed.done
        if not done.any():
            return None
        if not same and not self._discard:
            raise XmgError(self._other_features(found, int(done.sum())))
        return (found, done) if same and _rows_are_there(self.folder, found, placed) else None

    def _other_features(self, found: Plan, n_done: int) -> str:
        ours = {**self._plan.spec, "dtype": self._plan.dtype, "dim": self._plan.dim}
        theirs = {**found.spec, "dtype": found.dtype, "dim": found.dim}
        which = differences(theirs, ours) or "the listed ids, labels, columns or contents differ"
        return (
            f"{self.folder} keeps {n_done:,} of {found.n_inputs:,} inputs of an interrupted run "
            f"over other features: {which}.\n"
            "fix: run that one again to finish it, --overwrite to drop it, or another output"
        )

    def _check_space(self) -> None:
        """Say at once what would else come after hours: the disk is too small."""
        wanted = 0 if self._plan.sequences else len(self.listing) * self._plan.row_bytes
        status = os.statvfs(self.folder)
        free = status.f_bavail * status.f_frsize
        if wanted > free:
            raise XmgError(
                f"{self.path} needs {_size(wanted)}, and its disk has {_size(free)} free. "
                "fix: free some, or name an output on another disk"
            )

    def _finish(self) -> None:
        if lock.is_shared(self.folder / "workers"):
            raise XmgError(f"worker processes still write to {self.folder}. fix: wait for them")
        placed = place(self._plan, read_journals(self.folder))
        missing = len(self.listing) - int(placed.done.sum())
        if missing:
            raise XmgError(f"{self.path}: {missing} listed inputs got no features")
        if not len(placed.kept):
            disk.remove_folder(self.folder)
            reason = next(iter(placed.rejects.values()), "no inputs")
            raise XmgError(
                f"{self.path}: no input could be encoded (first reason: {reason}). "
                "fix: check the inputs, or choose an encoder that reads them"
            )
        tables = tables_of(self.listing, placed, self._plan.sequences)
        whole = assemble(self.folder, self._plan, placed, tables, attributes_of(self._plan))
        disk.replace(whole, self.path)
        disk.remove_folder(self.folder)

    def _let_go(self) -> None:
        """Free the lock; a folder that keeps nothing goes with it."""
        empty = self.folder.is_dir() and not any(read_journals(self.folder).values())
        if empty and not lock.is_shared(self.folder / "workers"):
            disk.remove_folder(self.folder)
        self._lock.release()


def _size(n_bytes: int) -> str:
    """Such as `1.5 MB`."""
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:.{min(power, 1)}f} {('bytes', 'kB', 'MB', 'GB', 'TB')[power]}"


def sweep(path: Path, made_of: str) -> None:
    """Remove what a run left that was stopped between naming the whole file and tidying up.

    made_of: the fingerprint of the file that is at `path`.
    """
    folder = partial_folder(real_path(path))
    held = lock.Lock(folder / "lock", path)
    if not folder.is_dir():
        return
    with suppress(OSError, XmgError):  # somebody else's, or damaged: not ours to judge here
        held.acquire()
        plan = Plan.load(folder)
        if plan is not None and plan.fingerprint == made_of:
            disk.remove_folder(folder)
    held.release()


def partial_folder(path: Path) -> Path:
    """Where the rows of `path` lie until it is whole."""
    return path.with_name(path.name + ".partial")


def real_path(path: Path) -> Path:
    """Follow links, so that a file is replaced where it lies. Raises XmgError for a link loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        raise XmgError(
            f"{path} is a symbolic link that leads back to itself. fix: name another output"
        ) from None


def _rows_are_there(folder: Path, plan: Plan, placed: Placement) -> bool:
    """Whether each writer's file is long enough for its rows; for rejects it need not be, as what
    follows the last row leaves it when the whole file is assembled in place."""
    kept = placed.kept
    ends = placed.at[kept] + placed.n_rows[kept]
    for w in np.unique(placed.writer[kept]):
        path = rows_path(folder, plan, placed.writers[w])
        end = int(ends[placed.writer[kept] == w].max())
        size = path.stat().st_size if path.is_file() else 0
        if size < plan.rows_offset + end * plan.row_bytes:
            return False
    return True


@contextmanager
def _telling(path: Path, folder: Path | None = None) -> Iterator[None]:
    """Put a failure of the disk into words."""
    try:
        yield
    except OSError as error:
        kept = f"; what is done is kept in {folder}" if folder and folder.is_dir() else ""
        raise XmgError(
            f"cannot write {path}: {os.strerror(error.errno) if error.errno else error}{kept}.\n"
            f"{disk.fix(error)}"
        ) from error
