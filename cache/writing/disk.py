"""The few system calls by which files are written: all of them, so that tests can break each."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

COPY_BYTES: Final = 1 << 23
DRAFT: Final = ".draft"  # how a small file is called until it is whole
_FIXES: Final = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "name an output where you may write"),
    errno.ENAMETOOLONG: "name an output that is shorter",
    errno.ENOTDIR: "name an output in a folder",
}


def write_at(fd: int, data: memoryview | bytes, offset: int) -> None:
    """Write all bytes at `offset`; a full disk raises OSError."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def append(fd: int, data: bytes) -> None:
    """Write all bytes at the end of a file."""
    write_at(fd, data, os.fstat(fd).st_size)


def send(fd: int, offset: int, n_bytes: int) -> None:
    """Have the system begin to bring bytes to the disk, so that a later `sync` waits less.

    Linux does so with bytes that are said not to be needed, and drops from memory only those that
    are on the disk already; elsewhere this does nothing.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(fd, offset, n_bytes, os.POSIX_FADV_DONTNEED)


def sync(fd: int) -> None:
    """Return once the file's bytes are on the disk."""
    os.fsync(fd)


def sync_folder(folder: Path) -> None:
    """Return once the names in `folder` are on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def truncate(fd: int, size: int) -> None:
    """Cut or extend the file to `size` bytes."""
    os.ftruncate(fd, size)


def replace(old: Path, new: Path) -> None:
    """Rename a synced file, in one step, over whatever has the new name."""
    old.replace(new)
    sync_folder(new.parent)


def write_file(path: Path, data: bytes) -> None:
    """Make a small file appear whole; where the disk refuses, OSError names it, and nothing is left
    but what was there."""
    draft = path.with_name(path.name + DRAFT)
    try:
        _write_draft(draft, data)
        replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        error.filename = str(path)
        raise


def _write_draft(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        write_at(fd, data, 0)
        sync(fd)
    finally:
        os.close(fd)


def fix(error: OSError) -> str:
    """What to do where a file cannot be written."""
    again = "put that right and type the same command again"
    return f"fix: {_FIXES.get(error.errno or 0, again)}"


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours with everything in it."""
    shutil.rmtree(folder, ignore_errors=True)
