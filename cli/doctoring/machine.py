"""Cores, memory, disks and file systems, as this process may use them."""

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rich.filesize import decimal

from xmg.cache.memory import memory
from xmg.cli.doctoring.finding import Finding
from xmg.extract.cores import cores

_LITTLE_MEMORY: Final = 2_000_000_000
_LITTLE_DISK: Final = 1_000_000_000
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")  # "150000 100000": microseconds of each 100000
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_PAGE: Final = 4096


def has_driver() -> bool:
    """Whether the system has a driver of NVIDIA's."""
    return _DRIVER.exists() or shutil.which("nvidia-smi") is not None


def machine() -> Iterator[Finding]:
    """Cores and memory, disks, and what the file system here can do."""
    yield _cores()
    yield _memory()
    yield from disks(Path.cwd())


def _cores() -> Finding:
    n, whole = cores(), os.cpu_count() or 1
    quota = _quota()
    threads = [f"{v}={os.environ[v]}" for v in _THREADS if os.environ.get(v)]
    what = ", ".join([f"{n} of {whole} for this process", *threads])
    if quota is not None and quota < n:
        what = f"{what}, yet only {quota:g} cores' time (a container's quota)"
        return Finding("warning", "cores", what, f"taskset -c 0-{max(1, int(quota)) - 1} xmg ...")
    return Finding("ok", "cores", what)


_THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def _quota() -> float | None:
    """Cores' worth of time that the process's control group gives, None without a limit."""
    try:
        share, period = _QUOTA.read_text("ascii").split()
        return int(share) / int(period)
    except (OSError, ValueError):
        return None


def _memory() -> Finding:
    free, total = memory()
    if not total:
        return Finding("ok", "memory", "this system does not say how much")
    what = f"{decimal(free)} of {decimal(total)} available"
    if free < _LITTLE_MEMORY:
        fix = "end what else runs; features are read from the disk, encoders need room"
        return Finding("warning", "memory", what, fix)
    return Finding("ok", "memory", what)


def disks(here: Path) -> Iterator[Finding]:
    """Room at `here` and in the folder of temporary files, and what the file system does."""
    yield _room("disk here", here, "warning")
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        reason = error.strerror or str(error)
        yield Finding("problem", "disk for temporary files", reason, "set TMPDIR to a folder")
    else:
        yield _room("disk for temporary files", temporary, "problem")
    yield _file_system(here)


def _room(about: str, folder: Path, full: str) -> Finding:
    try:
        room = shutil.disk_usage(folder)
    except OSError as error:
        return Finding("warning", about, f"{folder}: {error.strerror}")
    what = f"{decimal(room.free)} of {decimal(room.total)} free in {folder}"
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding("warning", about, f"{what}, not writable", "cd to a folder of your own")
    if room.free == 0:
        return Finding("problem" if full == "problem" else "warning", about, what, _MAKE_ROOM)
    if room.free < _LITTLE_DISK:
        return Finding("warning", about, what, _MAKE_ROOM)
    return Finding("ok", about, what)


_MAKE_ROOM: Final = "make room, or work on another disk"


def _file_system(here: Path) -> Finding:
    """Try on a file without a name what feature files need."""
    about = "file system here"
    lacks = []
    try:
        with tempfile.TemporaryFile(dir=here) as file:
            fd = file.fileno()
            os.ftruncate(fd, _PAGE)
            lacks = [name for name, step in _STEPS.items() if not _works(step, fd)]
    except OSError as error:
        what = f"no file can be written in {here}: {error.strerror}"
        return Finding("warning", about, what, "cd to a folder of your own")
    if "memory maps" in lacks:
        fix = "write feature files to a local disk"
        return Finding("warning", about, f"{here} does not have {', '.join(lacks)}", fix)
    if lacks:
        fix = "start no two runs on one output there; a full disk shows only while writing"
        return Finding("warning", about, f"{here} does not have {', '.join(lacks)}", fix)
    return Finding("ok", about, ", ".join(_STEPS))


def _map(fd: int) -> None:
    with mmap.mmap(fd, _PAGE) as mapped:
        mapped[:4] = b"rows"
        mapped.flush()


def _lock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _allocate(fd: int) -> None:
    os.posix_fallocate(fd, 0, 2 * _PAGE)


_STEPS: Final[dict[str, Callable[[int], None]]] = {
    "memory maps": _map,
    "allocation of space": _allocate,
    "locks": _lock,
}


def _works(step: Callable[[int], None], fd: int) -> bool:
    try:
        step(fd)
    except (OSError, ValueError, AttributeError):  # the last where Python lacks the call
        return False
    return True
