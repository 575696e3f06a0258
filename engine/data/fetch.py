"""Fetch rows of a feature file: at the speed of memory, and never from outside the file."""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
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
from xmg.engine.data.disk import Loading, bring, learn, loading_of
from xmg.engine.kernels.gather import gather, gather_together, n_within

_WORDS: Final = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_FRAMES: Final = 128
_THREAD_BYTES: Final = 1 << 20  # what a thread must copy to be worth waking
Words = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Table:
    """The features of a file, as the widest words that a row is made of: fewer to copy, and
    Numba has no float16."""

    words: Words  # (N, D * itemsize / word)
    dim: int
    dtype: np.dtype[Any]
    loading: Loading


_tables: WeakKeyDictionary[FeatureFile, _Table] = WeakKeyDictionary()
_longest: WeakKeyDictionary[FeatureFile, int] = WeakKeyDictionary()  # read off all offsets once


def fetch(file: FeatureFile, rows: Rows) -> Tensor:
    """Gather rows (...,) of the map into a float32 batch (..., D); of sequences (..., L, D + 1)."""
    return fetch_stored(file, rows).float()


def fetch_frames(file: FeatureFile, rows: Rows) -> Tensor:
    """Sequences (..., L, D + 1) of rows (...,), as stored: see `padded`.

    L is the file's longest sequence, but no more than 128. Raises XmgError for a row that the file
    does not have.
    """
    refuse_beyond(file, rows)
    if file not in _longest:
        _longest[file] = int(np.diff(file.offsets).max(initial=1))
    batch = padded(file.take(rows.reshape(-1)), _longest[file], file.dim)
    return batch.reshape(*rows.shape, *batch.shape[1:])


def padded(sequences: Iterable[npt.NDArray[Any]], longest: int = 1, dim: int = 0) -> Tensor:
    """Sequences (T_i, D) as one batch (n, L, D + 1), with a last column of ones that marks frames.

    Shorter ones are padded with zeros, there too. L is the longest, `longest` at least, but no
    more than 128: of longer ones frames are taken evenly. dim: D where there are none.
    """
    sequences = list(sequences)
    dtype = sequences[0].dtype if sequences else np.float32
    dim = sequences[0].shape[1] if sequences else dim
    n_frames = min(max([longest, *map(len, sequences)]), _FRAMES)
    batch = np.zeros((len(sequences), n_frames, dim + 1), dtype)
    for to, frames in zip(batch, sequences, strict=True):
        kept = min(len(frames), n_frames)
        to[:kept, :-1] = frames[np.arange(kept) * len(frames) // max(kept, 1)]
        to[:kept, -1] = 1
    return torch.from_numpy(batch)


def mean_frame(x: Tensor) -> Tensor:
    """Sequences (..., L, D + 1) whose last column marks frames to the mean of those, (..., D)."""
    mark = x[..., -1:].float()
    return (x[..., :-1] * mark).sum(-2) / mark.sum(-2).clamp_min(1)


def vectors(frames: bool) -> Callable[[Tensor], Tensor]:
    """What makes of raw rows one float vector each: of sequences, their mean frame."""
    return mean_frame if frames else Tensor.float


def fetch_stored(
    file: FeatureFile, rows: Rows, out: Tensor | None = None, n_threads: int | None = None
) -> Tensor:
    """The same in the file's own dtype: only copies, so it may run beside the training loop.

    A conversion here would wake a second pool of torch threads, which stalls the loop's; with
    n_threads=1 no other thread starts either. By default large batches take all cores.
    `out` (..., D), contiguous and in the file's dtype, is filled instead of new memory. Raises
    XmgError for a row that the file does not have, which is what a damaged index leads to.
    """
    if file.is_sequence:
        return fetch_frames(file, rows)
    table = _tables.get(file) or _table_of(file)
    flat = np.ascontiguousarray(rows, np.int64).reshape(-1)
    shape = (*rows.shape, table.dim)
    batch = np.empty(shape, table.dtype) if out is None else _checked(out, shape, table.dtype)
    target = batch.reshape(flat.size, table.dim).view(table.words.dtype)
    helped = not table.loading.done
    if helped:
        bring(file, table.loading, flat)
    began = perf_counter()
    done = _gather(table.words, flat, target, n_threads or n_threads_for(batch.nbytes))
    if helped:
        learn(table.loading, flat.size, perf_counter() - began)
    if done < flat.size:
        refuse_beyond(file, flat[done:])
    return torch.from_numpy(batch) if out is None else out


def refuse_beyond(file: FeatureFile, rows: Rows) -> None:
    """Raise XmgError for a row (...,) that the file does not have."""
    beyond = rows[(rows < 0) | (rows >= len(file))]
    if beyond.size:
        raise XmgError(
            f"{file.path} has {len(file):,} rows, and row {beyond[0]} was asked for: an index is "
            "damaged. fix: xmg cache verify says what; extract it again"
        )


def n_threads_for(n_bytes: int) -> int:
    """How many threads copy a batch: NUMBA_NUM_THREADS at most, which is the process's cores."""
    cores: int = vars(numba.config)["NUMBA_NUM_THREADS"]
    return max(1, min(cores, n_bytes // _THREAD_BYTES))


def _checked(out: Tensor, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    batch: npt.NDArray[Any] = out.numpy()
    if batch.shape != shape or batch.dtype != dtype or not batch.flags.c_contiguous:
        raise ValueError(f"out is {batch.dtype} {batch.shape}, the rows are {dtype} {shape}")
    return batch


def _table_of(file: FeatureFile) -> _Table:
    """Kept for each file, as making it anew would take as long as copying some rows."""
    features = file.features
    words = features.view(_WORDS[math.gcd(8, features.shape[1] * features.itemsize)])
    table = _tables[file] = _Table(words, file.dim, file.dtype, loading_of(file))
    return table


def _gather(words: Words, rows: Rows, target: Words, n_threads: int) -> int:
    """Gather by so many threads; returns as the kernel does.

    Plain threads: Numba's own abort the process where two threads of a program use them at once,
    and do not survive a fork.
    """
    if n_threads == 1:
        found: int = gather(words, rows, target)
        return found
    done: int = n_within(words, rows)
    if done == rows.size:
        pool, taken = _copiers(os.getpid()), np.zeros(1, np.int64)
        work = words, rows, target, taken
        others = [pool.submit(gather_together, *work) for _ in range(n_threads - 1)]
        try:
            gather_together(*work)
        finally:
            taken[0] = rows.size  # after an interruption too nobody goes on
            begun = [other for other in others if not other.cancel()]
            for other in begun:
                other.result()
    return done


@cache
def _copiers(pid: int) -> ThreadPoolExecutor:
    """Threads of this process, kept: to start them would take as long as to copy a batch. Those of
    the process that it was forked from are gone."""
    return ThreadPoolExecutor(thread_name_prefix="xmg-copy")
