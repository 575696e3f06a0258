"""Rows of a feature file that a sampler may draw from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows, class_numbers


@dataclass(frozen=True, slots=True)
class Pool:
    """Some classes of a feature file: class c has index[starts[c] : starts[c] + sizes[c]].

    Where no row is left out, `index` is the file's own index, not a copy: a pool costs as much
    as it has classes, whatever the number of rows. Nobody has read that index then, and it is
    the gather that refuses rows out of range.
    groups: (N,) recording number of each row of the file, or (0,) where rows stand alone.
    """

    file: FeatureFile
    classes: tuple[str, ...]
    starts: Rows  # (C,)
    sizes: Rows  # (C,)
    index: Rows  # (L,), may hold rows of other classes too
    groups: Rows

    def members(self, c: int) -> Rows:
        """Rows of class c."""
        return self.index[self.starts[c] : self.starts[c] + self.sizes[c]]

    @property
    def rows(self) -> Rows:
        """Rows of all classes, class by class: a copy."""
        parts = [self.members(c) for c in range(len(self.classes))]
        return np.concatenate([np.empty(0, np.int64), *parts])


def pool_of(file: FeatureFile, classes: Sequence[str], without: Rows | None = None) -> Pool:
    """Restrict a feature file to `classes`, in the given order, leaving out some rows.

    Raises XmgError for a class that the file lacks, and where its index is found damaged.
    """
    numbers = np.array(class_numbers(classes, file, "the class split"), np.int64)
    groups = _recordings(file)
    if without is None:
        if groups.size:  # they are looked up by row inside the draw, where no gather guards
            for c in numbers.tolist():
                file.rows_of(c)
        starts, stops = file.class_offsets[:-1][numbers], file.class_offsets[1:][numbers]
        return Pool(file, tuple(classes), starts, stops - starts, file.class_rows, groups)
    parts = [r[~np.isin(r, without)] for r in map(file.rows_of, numbers.tolist())]
    sizes = np.array([len(part) for part in parts], np.int64)
    index = np.concatenate([np.empty(0, np.int64), *parts])
    index.flags.writeable = False  # like the file's: kernels are compiled for one kind
    return Pool(file, tuple(classes), np.cumsum(sizes) - sizes, sizes, index, groups)


def with_at_least(pool: Pool, n_rows: int) -> Pool:
    """Only the classes that have n_rows rows."""
    kept = np.flatnonzero(pool.sizes >= n_rows)
    classes = tuple(pool.classes[c] for c in kept)
    return replace(pool, classes=classes, starts=pool.starts[kept], sizes=pool.sizes[kept])


def check_sizes(pool: Pool, n_way: int, n_rows: int, what: str) -> None:
    """Raise XmgError unless the pool has n_way classes, each with n_rows rows."""
    if len(pool.classes) < n_way:
        raise XmgError(
            f"{what} has {len(pool.classes)} classes of {pool.file.path}, and {n_way}-way tasks "
            f"need {n_way}. fix: lower --n-way, or give the split more classes"
        )
    if pool.sizes.min() < n_rows:
        least = int(pool.sizes.argmin())
        raise XmgError(
            f"class {pool.classes[least]!r} of {pool.file.path} has {pool.sizes[least]} samples, "
            f"and {what} needs {n_rows} (shots + queries). fix: lower --shots or --n-query"
        )


def _recordings(file: FeatureFile) -> Rows:
    names = file.column("recording")
    if names is None:
        return np.empty(0, np.int64)
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    alone = np.flatnonzero(names == b"")  # no recording named: a recording of its own
    numbers[alone] = len(names) + alone
    return numbers
