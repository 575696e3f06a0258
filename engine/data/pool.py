"""Rows of a feature file that a sampler may draw from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from xmg.cache import FeatureFile, Sealed, XmgError
from xmg.cache.pairs import Rows, class_numbers
from xmg.engine.config import Config
from xmg.engine.data.streams import Stream, generator


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
    kept = np.ones(len(file), np.bool_)
    kept[without] = False
    parts = [rows[kept[rows]] for rows in map(file.rows_of, numbers.tolist())]
    sizes = np.array([len(part) for part in parts], np.int64)
    index = np.concatenate([np.empty(0, np.int64), *parts])
    return _own_index(Pool(file, tuple(classes), sizes, sizes, index, groups), index)


def labelled_pool(file: FeatureFile, classes: Sequence[str], rows: Rows, config: Config) -> Pool:
    """Rows by class, for systems that read target labels: a share of the labels, some made wrong.

    Every class keeps at least one row. Classes that none of the rows is of are left out, and
    those that noise has emptied.
    """
    rng = generator(config.seed, Stream.NOISE)
    numbers = np.array(class_numbers(classes, file, "the class split"), np.int64)
    rows = np.unique(rows)
    rows = rows[np.argsort(file.labels[rows], kind="stable")]  # class by class
    ends = np.searchsorted(file.labels[rows], [numbers, numbers + 1])
    kept = [share_of(rows[a:b], config.label_share, rng) for a, b in ends.T.tolist()]
    present = [c for c, part in enumerate(kept) if len(part)]
    names = tuple(classes[c] for c in present)
    index = np.concatenate([np.empty(0, np.int64), *(kept[c] for c in present)])
    labels = np.repeat(np.arange(len(present)), [len(kept[c]) for c in present])
    labels = flipped(labels, len(present), config.label_noise, rng)
    return with_at_least(pool_by_labels(Sealed(file), names, index, labels), 1)


def share_of(rows: Rows, share: float, rng: np.random.Generator) -> Rows:
    """A share of some rows, ascending; one at least, where there are any."""
    n = max(1, round(share * len(rows))) if len(rows) else 0
    return np.sort(rng.permutation(rows)[:n])


def flipped(labels: Rows, n_classes: int, noise: float, rng: np.random.Generator) -> Rows:
    """Symmetric label noise: each label becomes one of the others with probability `noise`."""
    if n_classes < 2 or not noise:
        return labels
    wrong = rng.random(labels.shape) < noise
    return np.where(wrong, (labels + rng.integers(1, n_classes, labels.shape)) % n_classes, labels)


def pool_by_labels(file: FeatureFile, classes: tuple[str, ...], rows: Rows, labels: Rows) -> Pool:
    """A pool of rows (n,) with labels (n,) into classes."""
    order = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels, minlength=len(classes)).astype(np.int64)
    index = np.ascontiguousarray(rows[order], np.int64)
    return _own_index(Pool(file, classes, sizes, sizes, index, np.empty(0, np.int64)), index)


def sealed(pool: Pool, alone: bool = False) -> Pool:
    """The same pool, whose file shows no labels: they lead to rows beyond it.

    alone: its index is a copy that holds none of the other classes either.
    """
    pool = replace(pool, file=Sealed(pool.file))
    return _own_index(pool, pool.rows) if alone else pool


def _own_index(pool: Pool, index: Rows) -> Pool:
    """The same pool with an index of its own rows alone, class by class."""
    index.flags.writeable = False  # like the file's: kernels are compiled for one kind
    return replace(pool, index=index, starts=np.cumsum(pool.sizes) - pool.sizes)


def with_at_least(pool: Pool, n_rows: int) -> Pool:
    """Only the classes that have n_rows rows."""
    kept = np.flatnonzero(pool.sizes >= n_rows)
    classes = tuple(pool.classes[c] for c in kept)
    return replace(pool, classes=classes, starts=pool.starts[kept], sizes=pool.sizes[kept])


def check_groups(pool: Pool, config: Config, n_way: int) -> None:
    """Raise XmgError unless tasks of n_way groups can be drawn from the pool in meta-training."""
    n_rows = config.n_way * config.n_shots // n_way
    if len(pool.classes) < n_way or pool.sizes.min(initial=n_rows) < n_rows:
        raise XmgError(
            f"{pool.file.path} has {len(pool.classes)} groups of rows for meta-training, the least "
            f"of {pool.sizes.min() if len(pool.sizes) else 0} rows, and tasks need {n_way} of "
            f"{n_rows}. fix: lower n_way or k_shot in a --config file"
        )


def _recordings(file: FeatureFile) -> Rows:
    names = file.column("recording")
    if names is None:
        return np.empty(0, np.int64)
    numbers = np.unique(names, return_inverse=True)[1].astype(np.int64)
    alone = np.flatnonzero(names == b"")  # no recording named: a recording of its own
    numbers[alone] = len(names) + alone
    return numbers
