"""Bring about a whole file from what other files hold: block by block, or not at all."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.identity import FeatureSpec, Listing, fingerprint
from xmg.cache.opening import is_hdf5
from xmg.cache.read import FeatureFile
from xmg.cache.reuse import changes, refuse_others
from xmg.cache.write import FeatureWriter, Notify, real_path, sweep
from xmg.cache.writing import disk
from xmg.cache.writing.rows import Outputs

BLOCK_ROWS: Final = 4096
BLOCK_BYTES: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Draft:
    """A feature file to be. `blocks` are the outputs of its inputs, in the listed order."""

    spec: FeatureSpec
    listing: Listing
    dim: int
    dtype: str
    sequences: bool
    blocks: Iterable[Outputs]


def write_draft(out: Path, draft: Draft, *, overwrite: bool, notify: Notify) -> FeatureFile:
    """Write the draft to `out`; what an interrupted run did is kept.

    A file with the same fingerprint is returned as it is. Raises XmgError where `out` holds
    other features and overwrite is false, or is no feature file.
    """
    check_replaceable(out)
    former = None if overwrite else former_file(out)
    if former:
        if former.fingerprint == fingerprint(draft.spec, draft.listing, draft.dtype):
            return kept(out, former, notify)
        _refuse(former, draft)
    with FeatureWriter(
        out, draft.spec, draft.listing, draft.dim, dtype=draft.dtype, sequences=draft.sequences,
        discard=overwrite, notify=notify,
    ) as writer:  # fmt: skip
        first = 0
        for block in draft.blocks:
            if not writer.done[first : first + len(block)].all():
                writer.put(first, block)
            first += len(block)
    return FeatureFile(out)


def check_no_folder(out: Path) -> None:
    """Raise XmgError where an output is a folder."""
    if _is_folder(out):
        raise XmgError(f"{out} is a folder. fix: name a file in it, such as {out / 'features.h5'}")


def _is_folder(out: Path) -> bool:
    """Raises XmgError where nobody can tell: a name that is too long, a folder that is closed."""
    try:
        return out.is_dir()
    except OSError as error:
        raise refused(out, error) from error


def refused(out: Path, error: OSError) -> XmgError:
    """What to say where the disk does not take `out`."""
    return XmgError(f"cannot write {out}: {error.strerror or error}. {disk.fix(error)}")


def check_replaceable(out: Path) -> None:
    """Raise XmgError where an output is a folder, or of another kind, which nothing may replace."""
    check_no_folder(out)
    if out.exists() and not is_hdf5(out):
        raise XmgError(f"{out} is no feature file, and stays. fix: name another output")


def former_file(out: Path) -> FeatureFile | None:
    """Open what an output holds, None where there is nothing; raises XmgError for other files."""
    if not out.exists():
        return None
    try:
        return FeatureFile(out)
    except XmgError as error:
        raise XmgError(f"{error}\nfix: --overwrite, or another output") from error


def kept(out: Path, former: FeatureFile, notify: Notify) -> FeatureFile:
    """Return a file that is what would be made, and tidy up beside it."""
    sweep(out, former.fingerprint)
    notify(f"{out} holds just these features already; nothing to do")
    return former


def _refuse(former: FeatureFile, draft: Draft) -> None:
    fix = "--overwrite (from Python overwrite=True), or another output"
    refuse_others(former, draft.spec, draft.dtype, fix)
    found = changes(former, draft.listing)
    raise XmgError(f"{former.path} holds other features: {found}.\nfix: {fix}")


def blocks_of(
    file: FeatureFile, rows: npt.NDArray[np.int64] | None = None
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any] | list[npt.NDArray[Any]]]]:
    """Yield (rows, features) of a file, or of some of its rows, of about BLOCK_BYTES each."""
    rows = np.arange(len(file)) if rows is None else rows
    n_bytes = np.full(len(rows), file.dim * file.dtype.itemsize)
    if file.is_sequence:
        n_bytes *= file.offsets[rows + 1] - file.offsets[rows]
    for first, stop in _cuts(n_bytes):
        yield rows[first:stop], file.take(rows[first:stop])


def _cuts(n_bytes: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Cut rows of these sizes into blocks: at least a row, at most BLOCK_ROWS each."""
    ends = np.cumsum(n_bytes)
    first = 0
    while first < len(ends):
        limit = ends[first] - n_bytes[first] + BLOCK_BYTES
        stop = max(int(np.searchsorted(ends, limit, "right")), first + 1)
        stop = min(stop, first + BLOCK_ROWS)
        yield first, stop
        first = stop


def check_free(paths: Iterable[Path], overwrite: bool) -> None:
    """Raise XmgError where a file to be written is a folder, is there already, or may not come."""
    for path in paths:
        if _is_folder(path):
            raise XmgError(f"{path} is a folder. fix: name a file in it")
        if path.exists() and not overwrite:
            raise XmgError(f"{path} exists. fix: --overwrite, or another output")
        _check_may_come(path)


def _check_may_come(path: Path) -> None:
    """Raise XmgError where nobody may write into the folder: now, and not after minutes."""
    folder = next(filter(os.path.exists, real_path(path).parents))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise refused(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_own(
    out: Path, suffix: str, head: bytes, overwrite: bool, inputs: Iterable[Path | str] = ()
) -> None:
    """Raise XmgError unless `out` ends in `suffix`, and is free or what its command once wrote.

    head: how such a file begins. A file of another kind stays, and so does one of the inputs.
    """
    if out.suffix.lower() != suffix and not _is_folder(out):
        raise XmgError(f"{out} does not end in {suffix}. fix: -o {out.with_suffix(suffix)}")
    files = filter(os.path.isfile, inputs)  # Path refuses long texts
    if out.is_file() and any(out.samefile(path) for path in files):
        raise XmgError(f"{out} is an input, and stays. fix: name another output")
    if not _is_folder(out) and out.exists() and not (out.is_file() and _begins(out, head)):
        raise XmgError(f"{out} is not what this command writes, and stays. fix: another output")
    check_free([out], overwrite)


def _begins(path: Path, head: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(head)) == head


@contextmanager
def appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` when the block is left in good order, and whole.

    Raises XmgError where the disk refuses.
    """
    whole = real_path(path)
    draft = whole.with_name(f"{whole.name}.{os.getpid()}{disk.DRAFT}")
    try:
        whole.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            yield file
            file.flush()
            disk.sync(file.fileno())
        disk.replace(draft, whole)
    except OSError as error:
        raise refused(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def required(path: Path, fix: str = "check the path") -> Path:
    """Return `path`; raises XmgError where nothing is there, or nobody may look."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise XmgError(f"there is nothing at {path}. fix: {fix}") from None
    except OSError as error:
        raise XmgError(f"cannot look at {path}: {error.strerror}. fix: {fix}") from None
    return path


def required_file(path: Path) -> Path:
    """Return `path`; raises XmgError unless it is a file."""
    if path.is_file():
        return path
    what = "is no regular file" if path.exists() else "does not exist"
    raise XmgError(f"{path} {what}. fix: name a file")
