"""Draw episodes: which classes, which rows, which negatives. Pure in (key, episode number)."""

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels.rng import below, child

Rows = npt.NDArray[np.int64]
_CLASSES, _ROWS, _NEGATIVES = 0, 1, 2  # streams below an episode's key
_TRIES = 64
_SPARE = 8  # how many times the wanted rows one try looks through


@njit(cache=True)
def choose(key: np.uint64, n: int, k: int) -> Rows:
    """First k entries of a uniform permutation of range(n); O(k^2) whatever n."""
    memory = np.empty((3, k), np.int64)
    choose_into(key, n, k, memory)
    chosen = np.empty(k, np.int64)
    chosen[:] = memory[0]
    return chosen


@njit(cache=True)
def choose_into(key: np.uint64, n: int, k: int, memory: Rows) -> None:
    """The same into the first of three rows of memory, each of k numbers or more.

    Fisher-Yates on a virtual array: slot[j] is the place that step j overwrote and held[j]
    what it put there.
    """
    chosen, slot, held = memory[0], memory[1], memory[2]
    for i in range(k):
        r = i + below(key, i, n - i)
        at_r, at_i = r, np.int64(i)
        for j in range(i):  # the latest write to a place counts
            at_r = held[j] if slot[j] == r else at_r
            at_i = held[j] if slot[j] == i else at_i
        chosen[i], slot[i], held[i] = at_r, r, at_i


@njit(cache=True)
def _split_recordings(
    key: np.uint64, rows: Rows, groups: Rows, support: Rows, query: Rows, memory: Rows
) -> bool:
    """Fill query, then support with rows of recordings that query does not hold."""
    q = query.size
    n = min(rows.size, _SPARE * (q + support.size))
    choose_into(key, rows.size, n, memory)
    order = memory[0, :n]
    for j in range(q):
        query[j] = rows[order[j]]
    filled = 0
    for j in range(q, order.size):
        row = rows[order[j]]
        shared = False
        for other in query:
            shared |= groups[other] == groups[row]
        if not shared and filled < support.size:
            support[filled] = row
            filled += 1
    return filled == support.size


@njit(cache=True)
def _draw_class(
    key: np.uint64, rows: Rows, groups: Rows, support: Rows, query: Rows, memory: Rows
) -> bool:
    """Queries first: with one key, every shot count meets the same queries and the support of
    1 shot lies inside that of 5."""
    q = query.size
    if groups.size == 0:
        choose_into(key, rows.size, q + support.size, memory)
        order = memory[0]
        for j in range(q):
            query[j] = rows[order[j]]
        for j in range(support.size):
            support[j] = rows[order[q + j]]
        return True
    for attempt in range(_TRIES):
        if _split_recordings(child(key, attempt), rows, groups, support, query, memory):
            return True
    return False


@njit(cache=True)
def classes(episode: np.uint64, n: int, n_way: int) -> Rows:
    """The classes that `tasks` draws for the episode of this key."""
    return choose(child(episode, _CLASSES), n, n_way)


@njit(cache=True, nogil=True)
def tasks(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    key: np.uint64,
    first: int,
    choices: Rows,
    starts: Rows,
    sizes: Rows,
    index: Rows,
    groups: Rows,
    support: npt.NDArray[np.int64],
    query: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Fill classification episodes first, first + 1, ...

    choices: (E, n_way) classes, or (E, 0) to draw them here without replacement.
    starts (C,), sizes (C,), index (L,): class c has index[starts[c] : starts[c] + sizes[c]].
    groups (N,): recording of each row, or (0,) where every row stands alone. support
    (E, n_way, k) and query (E, n_way, q) are written with rows. Returns (E,) whether each
    episode could be filled.
    """
    n_way = support.shape[1]
    memory = np.empty((3, _SPARE * (support.shape[2] + query.shape[2])), np.int64)
    of_classes = np.empty((3, n_way), np.int64)
    filled = np.ones(support.shape[0], np.bool_)
    for e in range(support.shape[0]):
        episode = child(key, first + e)
        if choices.shape[1]:
            of_classes[0] = choices[e]
        else:
            choose_into(child(episode, _CLASSES), starts.size, n_way, of_classes)
        drawn = of_classes[0]
        for c in range(n_way):
            members = index[starts[drawn[c]] : starts[drawn[c]] + sizes[drawn[c]]]
            stream = child(child(episode, _ROWS), c)
            if not _draw_class(stream, members, groups, support[e, c], query[e, c], memory):
                filled[e] = False
    return filled


@njit(cache=True)
def negative(key: np.uint64, i: int, offsets: Rows, rows: Rows, own: int) -> np.int64:
    """Draw a row uniformly from all sets but `own`."""
    start, stop = offsets[own], offsets[own + 1]
    r = below(key, i, rows.size - (stop - start))
    return np.int64(rows[r if r < start else r + (stop - start)])  # step over the own set


@njit(cache=True, nogil=True)
def pairs(  # noqa: PLR0913, PLR0917 - kernels take arrays, not objects
    key: np.uint64,
    first: int,
    source_offsets: Rows,
    source_rows: Rows,
    target_offsets: Rows,
    target_rows: Rows,
    n_sets: int,
    source: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    negatives: npt.NDArray[np.int64],
) -> None:
    """Fill alignment episodes first, first + 1, ...

    An episode holds n_sets sets drawn without replacement; its pair b belongs to the set
    number b % n_sets and is uniform over X_s x X_t of that set. source (E, B) and target
    (E, B) are written with rows, negatives (E, B, K) with target rows of other sets.
    """
    for e in range(source.shape[0]):
        episode = child(key, first + e)
        drawn = choose(child(episode, _CLASSES), source_offsets.size - 1, n_sets)
        draw, away = child(episode, _ROWS), child(episode, _NEGATIVES)
        for b in range(source.shape[1]):
            own = drawn[b % n_sets]
            s, t = source_offsets[own], target_offsets[own]
            source[e, b] = source_rows[s + below(draw, 2 * b, source_offsets[own + 1] - s)]
            target[e, b] = target_rows[t + below(draw, 2 * b + 1, target_offsets[own + 1] - t)]
            for j in range(negatives.shape[2]):
                i = b * negatives.shape[2] + j
                negatives[e, b, j] = negative(away, i, target_offsets, target_rows, own)


@njit(cache=True, nogil=True)
def shared_negatives(
    key: np.uint64,
    first: int,
    target_offsets: Rows,
    target_rows: Rows,
    n_sets: int,
    negatives: npt.NDArray[np.int64],
) -> None:
    """Fill the negatives (E, R) that all pairs of alignment episodes first, first + 1, ... share.

    They are uniform over the target rows outside all the sets that `pairs` draws for an episode:
    of these there must be one.
    """
    for e in range(negatives.shape[0]):
        episode = child(key, first + e)
        drawn = np.sort(choose(child(episode, _CLASSES), target_offsets.size - 1, n_sets))
        n_left = target_rows.size
        for own in drawn:
            n_left -= target_offsets[own + 1] - target_offsets[own]
        away = child(episode, _NEGATIVES)
        for j in range(negatives.shape[1]):
            r = below(away, j, n_left)
            for own in drawn:  # in order of rows: step over each drawn set
                if r >= target_offsets[own]:
                    r += target_offsets[own + 1] - target_offsets[own]
            negatives[e, j] = target_rows[r]
