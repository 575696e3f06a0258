"""What a figure was measured on, and what the machine can do at most."""

import gc
import mmap
import os
import platform
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Thread
from typing import TypeVar

import h5py
import numba
import numpy as np
import torch

T = TypeVar("T")
PAGE = 4096
ROOT = Path(__file__).resolve().parents[1]
# The environment of a process whose glibc keeps freed memory, as that of the xmg command does.
KEEP = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}


def about() -> str:
    """CPU, versions, commit, threads."""
    torch.set_num_threads(1)
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, h5py {h5py.__version__}, "
        f"HDF5 {h5py.version.hdf5_version}, Numba {numba.__version__}"
    )
    return (
        f"{_cpu()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {versions}; "
        f"commit {_commit()}; large batches take {cores()} threads, all else 1"
    )


def cores() -> int:
    """Threads that a large batch takes; NUMBA_NUM_THREADS sets it."""
    return int(vars(numba.config)["NUMBA_NUM_THREADS"])


def medians(rounds: int, contestants: Mapping[str, Callable[[int], float]]) -> dict[str, float]:
    """The median of each contestant's `measured` figures, by name."""
    found = measured(rounds, contestants)
    return {name: statistics.median(values) for name, values in found.items()}


def measured(
    rounds: int, contestants: Mapping[str, Callable[[int], float]]
) -> dict[str, list[float]]:
    """Call each with the round's number; all figures by name, by round. Round 0 is a warm-up.

    The order changes with each round: a disk may still be at work for the one before.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    rng = random.Random(0)
    for r in range(rounds + 1):
        for name in rng.sample(list(contestants), len(contestants)):
            found[name].append(contestants[name](r))
    return {name: values[1:] for name, values in found.items()}


def rate(call: Callable[[T], object], batches: Sequence[T], turn: float = 0.0) -> float:
    """Calls a second, over as many passes as take `turn` seconds or more: caches that another
    contestant has filled are then a small part of anyone's time. What a call returns is dropped at
    once, as a training loop does."""
    n_calls, began = 0, time.perf_counter()
    while True:
        for batch in batches:
            call(batch)
        n_calls += len(batches)
        took = time.perf_counter() - began
        if took >= turn:
            return n_calls / took


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def multiply_rate() -> float:
    """Floating-point operations a second of one thread's best product."""
    a, b, out = (torch.ones(1024, 1024) for _ in range(3))
    return 2 * 1024**3 / min(seconds(lambda: torch.mm(a, b, out=out)) for _ in range(10))


def pass_rate() -> float:
    """Bytes a second, read and written, of one thread's passes over 6 MB: the weights and moments
    of a head of 2048 x 256."""
    x = torch.ones(6 << 18)
    return 2 * x.nbytes / min(seconds(lambda: x.mul_(1.0)) for _ in range(30))


def drop(path: Path) -> None:
    """Leave no page of a file in the page cache. Nobody may have it mapped."""
    gc.collect()
    with opened(path, os.O_RDONLY) as fd:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def copy(source: np.ndarray, target: np.ndarray, n_threads: int) -> None:
    """np.copyto in slices, one for each thread; threads are kept."""
    bounds = [len(target) * i // n_threads for i in range(n_threads + 1)]
    first, *others = (slice(*bounds[i : i + 2]) for i in range(n_threads))
    later = [_threads().submit(np.copyto, target[part], source[part]) for part in others]
    np.copyto(target[first], source[first])
    for future in later:
        future.result()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def touch(n_bytes: int) -> None:
    """Use as much memory as a file will take of the page cache, and give it back.

    A virtual machine hands free memory to its host; to get it again takes seconds per GB, and
    would be charged to whoever happens to come next.
    """
    np.ones(2 * n_bytes, np.uint8)


def disk_limits(path: Path, n_reads: int) -> tuple[float, float, float]:
    """Bytes a second in sequence, and pages a second at random, 1 and 32 at a time.

    Past the page cache, on a file that exists.
    """
    size = path.stat().st_size // PAGE * PAGE
    with opened(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0)) as fd:
        n_bytes = min(size, 1 << 30)
        sequential = n_bytes / seconds(lambda: _read(fd, range(0, n_bytes, 1 << 23), 1 << 23))
        return sequential, _random(fd, size, n_reads, 1), _random(fd, size, 8 * n_reads, 32)


def _random(fd: int, size: int, n_reads: int, depth: int) -> float:
    places = np.random.default_rng(depth).integers(0, size // PAGE, n_reads) * PAGE
    threads = [
        Thread(target=_read, args=(fd, places[i::depth].tolist(), PAGE)) for i in range(depth)
    ]

    def read() -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return n_reads / seconds(read)


def _read(fd: int, places: range | list[int], n_bytes: int) -> None:
    buffer = mmap.mmap(-1, n_bytes)  # page-aligned, as reads past the page cache must be
    for place in places:
        os.preadv(fd, [buffer], place)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
        dirty = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + "+" * bool(dirty)
