"""Fetch rows of a feature file: at the speed of memory, and never from outside the file."""

import math
from itertools import pairwise
from threading import Thread
from time import perf_counter
from typing import Any, Final
from weakref import WeakKeyDictionary

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows
from xmg.engine.disk import Disk, announce, disk_of, learn
from xmg.engine.kernels.gather import gather
from xmg.engine.kernels.syscalls import read_rows

_WORDS: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_THREAD_BYTES: Final = 1 << 20  # what a thread must copy to be worth its start
Words = npt.NDArray[Any]
_tables: WeakKeyDictionary[FeatureFile, Words] = WeakKeyDictionary()


def fetch(file: FeatureFile, rows: Rows) -> Tensor:
    """Gather rows (...,) of the map into a float32 batch (..., D)."""
    return fetch_stored(file, rows).float()


def fetch_stored(
    file: FeatureFile, rows: Rows, out: Tensor | None = None, n_threads: int | None = None
) -> Tensor:
    """The same in the file's own dtype: only copies, so it may run beside the training loop.

    A conversion here would wake a second pool of torch threads, which stalls the loop's; with
    n_threads=1 no other thread starts either. By default large batches take all cores.
    `out` (..., D), contiguous and in the file's dtype, is filled instead of new memory. Raises
    XmgError for a row that the file does not have, which is what a damaged index leads to.
    """
    words, flat = _words_of(file), np.ascontiguousarray(rows, np.int64).reshape(-1)
    shape = (*rows.shape, file.dim)
    batch = np.empty(shape, file.dtype) if out is None else _checked(out, shape, file.dtype)
    target = batch.reshape(flat.size, file.dim).view(words.dtype)
    done = _timed_gather(file, words, flat, target, n_threads or n_threads_for(batch.nbytes))
    if done < 0:
        raise XmgError(f"{file.path}: the disk cannot read row {flat[-1 - done]}")
    if done < flat.size:
        raise XmgError(
            f"{file.path} has {len(words):,} rows, and row {flat[done]} was asked for: an index is "
            "damaged. fix: xmg cache verify says what; extract it again"
        )
    return torch.from_numpy(batch) if out is None else out


def n_threads_for(n_bytes: int) -> int:
    """How many threads copy a batch: NUMBA_NUM_THREADS at most, which is the process's cores."""
    cores: int = vars(numba.config)["NUMBA_NUM_THREADS"]
    return max(1, min(cores, n_bytes // _THREAD_BYTES))


def _checked(out: Tensor, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    batch: npt.NDArray[Any] = out.numpy()
    if batch.shape != shape or batch.dtype != dtype or not batch.flags.c_contiguous:
        raise ValueError(f"out is {batch.dtype} {batch.shape}, the rows are {dtype} {shape}")
    return batch


def _words_of(file: FeatureFile) -> Words:
    """The features as the widest words that a row is made of: fewer to copy, and Numba has no
    float16. Looked up, as making it anew would take as long as copying some rows."""
    words = _tables.get(file)
    if words is None:
        features = file.features
        word = _WORDS[math.gcd(8, features.shape[1] * features.itemsize)]
        words = _tables[file] = features.view(word)
    return words


def _timed_gather(
    file: FeatureFile, words: Words, rows: Rows, target: Words, n_threads: int
) -> int:
    """Gather with what is known of the file's disk, and learn from how long it takes."""
    disk = disk_of(file)
    if disk is None or not rows.size:
        return _gather(words, None, rows, target, n_threads)
    announce(disk, rows)
    began = perf_counter()
    done = _gather(words, disk, rows, target, n_threads)
    learn(disk, file, rows.size, perf_counter() - began)
    return done


def _gather(words: Words, disk: Disk | None, rows: Rows, target: Words, n_threads: int) -> int:
    """Gather in slices of the batch, one for each thread; returns as the kernels do.

    Plain threads, started anew: Numba's own abort the process where two threads of a program
    use them at once, and do not survive a fork.
    """

    def copy(part: slice) -> int:
        if disk and not disk.fits:
            read: int = read_rows(disk.fd, disk.offset, disk.n_rows, rows[part], target[part])
            return read
        return gather(words, rows[part], target[part])

    if n_threads == 1:
        return copy(slice(None))
    parts = list(pairwise(rows.size * i // n_threads for i in range(n_threads + 1)))
    done = [0] * n_threads

    def run(i: int) -> None:
        done[i] = copy(slice(*parts[i]))

    threads = [Thread(target=run, args=(i,)) for i in range(1, n_threads)]
    for thread in threads:
        thread.start()
    run(0)
    for thread in threads:
        thread.join()
    return _first_failure(parts, done, rows.size)


def _first_failure(parts: list[tuple[int, int]], done: list[int], n: int) -> int:
    """Return what one kernel over all n rows would have."""
    for (start, stop), found in zip(parts, done, strict=True):
        if found < stop - start:
            return found - start if found < 0 else found + start
    return n
