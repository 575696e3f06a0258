"""Rows of a feature file that a sampler may draw from, and the way to fetch them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows, class_numbers
from xmg.engine.kernels.gather import gather

_WORDS = {2: np.uint16, 4: np.uint32}  # kernels copy raw words: Numba has no float16 on CPUs


@dataclass(frozen=True, slots=True)
class Pool:
    """Some classes of a feature file: class c has rows[offsets[c]:offsets[c + 1]].

    groups: (N,) recording number of each row of the file, or (0,) where rows stand alone.
    """

    file: FeatureFile
    classes: tuple[str, ...]
    offsets: Rows  # (C + 1,)
    rows: Rows  # (L,)
    groups: Rows


def pool_of(file: FeatureFile, classes: Sequence[str], without: Rows | None = None) -> Pool:
    """Restrict a feature file to `classes`, in the given order, leaving out some rows."""
    numbers = class_numbers(classes, file, "the class split")
    rows = [file.rows_of(c) for c in numbers]
    if without is not None:
        rows = [r[~np.isin(r, without)] for r in rows]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    flat = np.concatenate(rows) if rows else np.empty(0, np.int64)
    return Pool(file, tuple(classes), offsets, flat, _recordings(file))


def fetch(file: FeatureFile, rows: npt.NDArray[np.int64]) -> Tensor:
    """Gather rows (...,) of the map into a float32 batch (..., D)."""
    return fetch_stored(file, rows).float()


def fetch_stored(file: FeatureFile, rows: npt.NDArray[np.int64]) -> Tensor:
    """The same in the file's own dtype: only copies, so it may run beside the training loop.

    A conversion here would wake a second pool of torch threads, which stalls the loop's.
    """
    table: npt.NDArray[Any] = file.features
    words = table.view(_WORDS[table.itemsize])
    out = np.empty((rows.size, table.shape[1]), words.dtype)
    gather(words, np.ascontiguousarray(rows).reshape(-1), out)
    return torch.from_numpy(out.view(table.dtype)).reshape(*rows.shape, -1)


def check_sizes(pool: Pool, n_way: int, n_rows: int, what: str) -> None:
    """Raise XmgError unless the pool has n_way classes, each with n_rows rows."""
    if len(pool.classes) < n_way:
        raise XmgError(
            f"{what} has {len(pool.classes)} classes of {pool.file.path}, and {n_way}-way tasks "
            f"need {n_way}. fix: lower --n-way, or give the split more classes"
        )
    sizes = np.diff(pool.offsets)
    if sizes.min() < n_rows:
        least = int(sizes.argmin())
        raise XmgError(
            f"class {pool.classes[least]!r} of {pool.file.path} has {sizes[least]} samples, and "
            f"{what} needs {n_rows} (shots + queries). fix: lower --shots or --n-query"
        )


def _recordings(file: FeatureFile) -> Rows:
    names = file.column("recording")
    if names is None:
        return np.empty(0, np.int64)
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    alone = np.flatnonzero(names == b"")  # no recording named: a recording of its own
    numbers[alone] = len(names) + alone
    return numbers
