"""Episodes as rows. Episode i of a stream is a pure function of (seed, stream, i)."""

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError
from xmg.cache.pairs import PairedSets, Rows
from xmg.engine.data.pool import Pool
from xmg.engine.data.streams import child_key
from xmg.engine.kernels import draw


def draw_tasks(
    pool: Pool,
    key: np.uint64,
    first: int,
    shape: tuple[int, int, int, int],
    choices: Rows | None = None,
) -> tuple[Rows, Rows]:
    """Draw E episodes, numbered from `first`; shape is (E, n_way, k_shot, n_query).

    choices: (E, n_way) class numbers, or None to draw them. Returns support (E, n_way, k_shot)
    and query (E, n_way, n_query) rows; no recording is in both of one class. Raises XmgError where
    the recordings of a class are too few for that.
    """
    n_episodes, n_way, k_shot, n_query = shape
    support = np.empty((n_episodes, n_way, k_shot), np.int64)
    query = np.empty((n_episodes, n_way, n_query), np.int64)
    fixed = np.empty((n_episodes, 0), np.int64) if choices is None else choices
    filled = draw.tasks(
        key, first, fixed, pool.starts, pool.sizes, pool.index, pool.groups, support, query
    )
    if not filled.all():
        raise XmgError(
            f"{pool.file.path}: with {k_shot} shots and {n_query} queries, some class has too few "
            "recordings to keep support and query apart. fix: lower --shots or --n-query"
        )
    return support, query


def draw_class_sets(pool: Pool, key: np.uint64, n_tasks: int, n_way: int) -> Rows:
    """Draw the classes of fixed tasks: (n_tasks, n_way) without replacement inside a task."""
    sets = [draw.choose(child_key(key, i), len(pool.classes), n_way) for i in range(n_tasks)]
    return np.stack(sets)


def classes_of_task(pool: Pool, key: np.uint64, i: int, n_way: int) -> Rows:
    """The classes (n_way,) that `draw_tasks` draws for episode i."""
    return draw.classes(child_key(key, i), len(pool.classes), n_way)


def draw_pairs(
    sets: PairedSets, key: np.uint64, i: int, shape: tuple[int, int, int]
) -> tuple[Rows, Rows, Rows]:
    """Draw alignment episode i; shape is (n_sets, k_pairs, n_negatives).

    Returns source (B,), target (B,) and negative (B, n_negatives) rows, B = n_sets * k_pairs.
    """
    n_sets, k_pairs, n_negatives = shape
    n_pairs = n_sets * k_pairs
    source, target = np.empty((2, 1, n_pairs), np.int64)
    negatives: npt.NDArray[np.int64] = np.empty((1, n_pairs, n_negatives), np.int64)
    draw.pairs(
        key, i, sets.source_offsets, sets.source_rows, sets.target_offsets, sets.target_rows,
        n_sets, source, target, negatives,
    )  # fmt: skip
    return source[0], target[0], negatives[0]


def draw_shared_negatives(
    sets: PairedSets, key: np.uint64, i: int, n_sets: int, n_negatives: int
) -> Rows:
    """Draw n_negatives target rows from outside all sets of alignment episode i."""
    negatives: Rows = np.empty(n_negatives, np.int64)
    draw.shared_negatives(key, i, sets.target_offsets, sets.target_rows, n_sets, negatives[None])
    return negatives
