"""A disk that fails on purpose: it fills up at a byte, or loses power between two calls."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from xmg.cache.writing import disk

_CALLS = ("write_at", "sync", "sync_folder", "truncate", "replace")


class PowerCutError(BaseException):
    """Nothing in the program may survive this, so it is no Exception."""


class Disk:
    """Counts the calls of the real `disk` below `root`, and knows what a power cut would leave.

    A file is durable as it was when last synced, a name as it was when its folder was last
    synced; whatever came later is lost. A file that was never synced comes back empty.
    """

    def __init__(self, root: Path, dies_at: int | None = None) -> None:
        self.root, self.dies_at = root, dies_at
        self.calls = 0
        self._contents: dict[int, bytes] = {}  # by inode
        self._names: dict[
            Path, dict[str, int | None]
        ] = {}  # folder -> name -> inode, None = folder
        self._real = {name: getattr(disk, name) for name in _CALLS}
        for folder in [root, *(p for p in root.rglob("*") if p.is_dir())]:
            self._keep_names(folder)
        for file in root.rglob("*"):
            if file.is_file():
                self._contents[file.stat().st_ino] = file.read_bytes()

    def call(self, name: str, *arguments: object) -> None:
        """Do what the real call does, unless the power is gone."""
        if self.dies_at is not None and self.calls >= self.dies_at:
            raise PowerCutError
        self.calls += 1
        self._real[name](*arguments)
        if name == "sync":
            (fd,) = arguments
            assert isinstance(fd, int)
            path = Path(f"/proc/self/fd/{fd}").readlink()
            self._contents[os.fstat(fd).st_ino] = path.read_bytes()
        if name == "sync_folder":
            (folder,) = arguments
            assert isinstance(folder, Path)
            self._keep_names(folder)

    def restart(self) -> None:
        """Make the folder what it would be when the power is back."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        self._rebuild(self.root)

    def _keep_names(self, folder: Path) -> None:
        self._names[folder] = {
            p.name: None if p.is_dir() else p.stat().st_ino for p in folder.iterdir()
        }

    def _rebuild(self, folder: Path) -> None:
        for name, inode in self._names.get(folder, {}).items():
            if inode is None:
                (folder / name).mkdir()
                self._rebuild(folder / name)
            else:
                (folder / name).write_bytes(self._contents.get(inode, b""))


@contextmanager
def simulated(root: Path, dies_at: int | None = None) -> Iterator[Disk]:
    """Run the block on a `Disk`; a power cut ends it, and the durable state comes back."""
    found = Disk(root, dies_at)
    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(disk, name, lambda *a, name=name: found.call(name, *a))
        with suppress(PowerCutError):
            yield found
    if dies_at is not None:
        found.restart()


@contextmanager
def full_after(n_bytes: int) -> Iterator[list[int]]:
    """A disk that takes `n_bytes` more bytes, then says that it is full; yields bytes by write."""
    taken: list[int] = []
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        left = n_bytes - sum(taken)
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, data[: min(left, 1000)], offset)  # and short writes on the way
        taken.append(written)
        return written

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk.os, "pwrite", pwrite)
        yield taken
