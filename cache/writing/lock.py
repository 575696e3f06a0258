"""One run at a time for each output; whoever dies lets go."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from xmg.cache.errors import XmgError

_NO_LOCKS: Final = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


class Lock:
    """An exclusive lock on a file that names its owner; the kernel frees it when they die.

    `former` is the owner of a lock that nobody holds any more: (process, host, seconds ago).
    Some network disks cannot lock; there the named owner counts while their process lives.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self.output = path, output
        self._fd = -1
        self.former: dict[str, Any] | None = None

    def acquire(self) -> None:
        """Raise XmgError naming owner and age where another run holds the lock."""
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            owner = _read(fd)
            try:
                held = not _try_lock(fd, owner)
            except BaseException:
                os.close(fd)
                raise
            if held:
                os.close(fd)
                raise XmgError(_held(self.output, self.path, owner))
            if _is_at(fd, self.path):
                break
            os.close(fd)  # a finished run removed the file between our two steps
        self._fd, self.former = fd, owner
        me = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(me).encode(), 0)
        except OSError as error:  # of a number of a file, so that it names none
            self.release()
            error.filename = str(self.path)
            raise

    def release(self) -> None:
        """Let go; the file stays, empty, unless its folder is removed."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


@contextmanager
def locked(path: Path, output: Path) -> Iterator[None]:
    """Hold the lock on a file inside the block; the file stays, empty."""
    lock = Lock(path, output)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def share(path: Path) -> int:
    """Open `path` with a shared lock, which a worker holds for as long as it may write."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(fd)
            raise
    return fd


def is_free(fd: int) -> bool:
    """Take the exclusive lock on an open file, if no other process has it."""
    return _try_lock(fd, None)


def is_shared(path: Path) -> bool:
    """Whether any process still holds a shared lock on `path`."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        return not _try_lock(fd, None)
    finally:
        os.close(fd)


def ago(owner: dict[str, Any]) -> str:
    """How long ago the owner began, in words."""
    seconds = max(0, time.time() - float(owner.get("since", 0)))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def _try_lock(fd: int, owner: dict[str, Any] | None) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return owner is None or not _may_live(owner)
    return True


def _may_live(owner: dict[str, Any]) -> bool:
    """Whether the owner runs; on another host nobody can tell, so yes."""
    if owner.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(owner["process"]), 0)
    except (ProcessLookupError, KeyError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _read(fd: int) -> dict[str, Any] | None:
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
    except ValueError:
        return None  # empty: let go in good order
    return owner if isinstance(owner, dict) else None


def _is_at(fd: int, path: Path) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)


def _held(output: Path, path: Path, owner: dict[str, Any] | None) -> str:
    who = "another run"
    if owner:
        who = f"process {owner.get('process')} on {owner.get('host')}, begun {ago(owner)}"
    return (
        f"{output} is being written by {who}.\n"
        f"fix: wait for it, or name another output (if that process is gone: rm {path})"
    )
