"""Fetch rows of a feature file: at the speed of memory, and never from outside the file."""

import math
from collections.abc import Sequence
from itertools import pairwise
from threading import Thread
from time import perf_counter
from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows
from xmg.engine import readahead
from xmg.engine.kernels.gather import gather

_WORDS: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_THREAD_BYTES: Final = 1 << 20  # what a thread must copy to be worth its start
Words = npt.NDArray[Any]


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
    table: npt.NDArray[Any] = file.features
    flat = np.ascontiguousarray(rows, np.int64).reshape(-1)
    shape = (*rows.shape, table.shape[1])
    batch = np.empty(shape, table.dtype) if out is None else _checked(out, shape, table.dtype)
    source, target = _as_words(table, batch.reshape(-1, table.shape[1]))
    readahead.announce(file, flat)
    began = perf_counter()
    _gather(file, source, flat, target, n_threads or n_threads_for(batch.nbytes))
    readahead.learn(file, flat.size, batch.nbytes, perf_counter() - began)
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


def _as_words(table: npt.NDArray[Any], batch: npt.NDArray[Any]) -> tuple[Words, Words]:
    """Both as the widest words that a row is made of: fewer to copy, and Numba has no float16."""
    width = table.shape[1] * table.itemsize
    word = _WORDS[math.gcd(8, width, table.ctypes.data, batch.ctypes.data)]
    return table.view(word), batch.view(word)


def _gather(file: FeatureFile, source: Words, rows: Rows, target: Words, n_threads: int) -> None:
    """Gather in slices of the batch, one for each thread.

    Plain threads, started anew: Numba's own abort the process where two threads of a program
    use them at once, and do not survive a fork.
    """
    bounds = [rows.size * i // n_threads for i in range(n_threads + 1)]
    parts = [slice(a, b) for a, b in pairwise(bounds)]
    done = [0] * n_threads

    def copy(i: int) -> None:
        done[i] = gather(source, rows[parts[i]], target[parts[i]])

    threads = [Thread(target=copy, args=(i,)) for i in range(1, n_threads)]
    for thread in threads:
        thread.start()
    copy(0)
    for thread in threads:
        thread.join()
    _refuse_outside(file, rows, parts, done)


def _refuse_outside(
    file: FeatureFile, rows: Rows, parts: Sequence[slice], done: Sequence[int]
) -> None:
    for part, n in zip(parts, done, strict=True):
        if n < part.stop - part.start:
            raise XmgError(
                f"{file.path} has {len(file.features):,} rows, and row {rows[part.start + n]} was "
                "asked for: an index is damaged. fix: xmg cache verify says what; extract it again"
            )
