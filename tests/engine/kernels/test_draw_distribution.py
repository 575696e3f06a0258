"""Chi-square tests of what the kernels draw; seeds are fixed, so they always pass or never."""

from collections import Counter
from itertools import combinations

import numpy as np
from scipy.stats import chisquare
from test_draw import csr, members, pairs_of, recordings, tasks_of

from xmg.engine.kernels import draw

N = 6000
SIZES = (9, 12, 9, 12)


def uniform(found, cells):
    """Whether counts of `found` over all cells are those of a uniform draw."""
    counts = Counter(found)
    assert set(counts) <= set(cells)
    return chisquare([counts[cell] for cell in cells]).pvalue > 1e-4


def test_choices_are_uniform_over_ordered_triples():
    found = [tuple(draw.choose(np.uint64(key), 5, 3).tolist()) for key in range(N)]
    assert len(set(found)) == 60
    assert uniform(found, sorted(set(found)))


def test_classes_are_uniform_in_every_place():
    support, _ = tasks_of(1, 0, N, (3, 1, 0), SIZES)
    owner = {row: c for c, rows in enumerate(members(*csr(SIZES))) for row in rows}
    for place in range(3):
        assert uniform([owner[row] for row in support[:, place, 0].tolist()], range(4))


def test_rows_are_uniform_inside_a_class():
    choices = np.tile(np.array([1, 3], dtype=np.int64), (N, 1))
    support, query = tasks_of(2, 0, N, (2, 2, 2), SIZES, choices)
    classes = members(*csr(SIZES))
    for c, own in enumerate([1, 3]):
        for column in (*support[:, c].T, *query[:, c].T):
            assert uniform(column.tolist(), classes[own])


def test_support_and_query_are_independent_of_each_other():
    choices = np.zeros((N, 1), np.int64)
    support, query = tasks_of(3, 0, N, (1, 1, 1), (5, 5), choices)
    found = list(zip(support.ravel().tolist(), query.ravel().tolist(), strict=True))
    rows = members(*csr((5, 5)))[0]
    assert uniform(found, [(a, b) for a in rows for b in rows if a != b])


def test_recordings_are_uniform():
    choices = np.zeros((N, 1), np.int64)
    groups = recordings((12, 12), 3)
    support, query = tasks_of(4, 0, N, (1, 1, 1), (12, 12), choices, groups)
    rows = members(*csr((12, 12)))[0]
    found = list(zip(support.ravel().tolist(), query.ravel().tolist(), strict=True))
    assert uniform(found, [(a, b) for a in rows for b in rows if groups[a] != groups[b]])


def test_pairs_are_uniform_over_the_product_of_a_set():
    source, target, _ = pairs_of(5, 0, N, (1, 1, 1), (3, 3, 3, 3), (2, 2, 2, 2))
    sources, targets = members(*csr((3,) * 4, 1)), members(*csr((2,) * 4, 2))
    cells = [(a, b) for s, t in zip(sources, targets, strict=True) for a in s for b in t]
    assert uniform(zip(source.ravel().tolist(), target.ravel().tolist(), strict=True), cells)


def test_negatives_are_uniform_over_the_rows_of_other_sets():
    _, target, negatives = pairs_of(6, 0, N, (1, 1, 2))
    sets = members(*csr((2, 5, 1, 3), 2))
    for own in sets:
        inside = np.isin(target[:, 0], own)
        others = [row for rows in sets if rows is not own for row in rows]
        assert uniform(negatives[inside].ravel().tolist(), others)


def test_shared_negatives_are_uniform_over_the_rows_outside_the_drawn_sets():
    source, _, _ = pairs_of(7, 0, N, (2, 1, 1))
    offsets, rows = csr((2, 5, 1, 3), 2)
    found = np.empty((N, 2), np.int64)
    draw.shared_negatives(np.uint64(7), 0, offsets, rows, 2, found)
    sources, targets = members(*csr((3, 1, 4, 2), 1)), members(offsets, rows)
    for one, two in combinations(range(4), 2):
        drawn = [*sources[one], *sources[two]]
        inside = np.isin(source, drawn).all(1)
        others = [row for s in {0, 1, 2, 3} - {one, two} for row in targets[s]]
        assert uniform(found[inside].ravel().tolist(), others)


def test_streams_of_neighbouring_keys_and_episodes_are_unrelated():
    first = np.array([draw.choose(np.uint64(key), 4, 1)[0] for key in range(N)])
    found = zip(first[:-1].tolist(), first[1:].tolist(), strict=True)
    assert uniform(found, [(a, b) for a in range(4) for b in range(4)])
    episodes = tasks_of(0, 0, N, (1, 1, 0), (4, 4), np.zeros((N, 1), np.int64))[0].ravel()
    rows = members(*csr((4, 4)))[0]
    found = zip(episodes[:-1].tolist(), episodes[1:].tolist(), strict=True)
    assert uniform(found, [(a, b) for a in rows for b in rows])
