"""Kernels equal their twins, keep their promises, and do not depend on how they are run."""

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import naive
import numba
import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.kernels import draw
from xmg.engine.kernels.rng import below, child, word

KEYS = st.integers(0, 2**64 - 1)
SIZES = st.lists(st.integers(5, 9), min_size=4, max_size=7)
ALONE = np.empty(0, np.int64)


def csr(sizes, seed=0):
    """Classes of these sizes; their rows are scattered over the file."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return offsets, np.random.default_rng(seed).permutation(3 * offsets[-1])[: offsets[-1]]


def members(offsets, rows):
    return [rows[i:j].tolist() for i, j in pairwise(offsets)]


def tasks_of(key, first, n, shape, sizes=(9, 8, 7, 9), choices=None, groups=ALONE):
    n_way, k, q = shape
    support, query = np.empty((n, n_way, k), np.int64), np.empty((n, n_way, q), np.int64)
    choices = np.empty((n, 0), np.int64) if choices is None else choices
    offsets, rows = csr(sizes)
    starts = offsets[:-1], np.diff(offsets)
    filled = draw.tasks(np.uint64(key), first, choices, *starts, rows, groups, support, query)
    assert filled.all()
    return support, query


def pairs_of(key, first, n, shape, sources=(3, 1, 4, 2), targets=(2, 5, 1, 3)):
    n_sets, k_pairs, n_negatives = shape
    source, target = np.empty((2, n, n_sets * k_pairs), np.int64)
    negatives = np.empty((n, n_sets * k_pairs, n_negatives), np.int64)
    sets = (*csr(sources, 1), *csr(targets, 2))
    draw.pairs(np.uint64(key), first, *sets, n_sets, source, target, negatives)
    return source, target, negatives


def test_words_are_the_published_ones():
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [int(word(np.uint64(1234567), i)) for i in range(5)] == published
    assert [naive.word(1234567, i) for i in range(5)] == published


@given(KEYS, st.integers(0, 50), st.integers(1, 2**62))
def test_words_twin(key, i, n):
    assert int(word(np.uint64(key), i)) == naive.word(key, i)
    assert int(child(np.uint64(key), i)) == naive.child(key, i)
    assert below(np.uint64(key), i, n) == naive.word(key, i) % n


@given(KEYS, st.integers(1, 40), st.data())
def test_choose_twin(key, n, data):
    k = data.draw(st.integers(0, n))
    chosen = draw.choose(np.uint64(key), n, k).tolist()
    assert chosen == naive.choose(key, n, k)
    assert len(set(chosen)) == k and all(0 <= c < n for c in chosen)
    assert sorted(draw.choose(np.uint64(key), n, n).tolist()) == list(range(n))


@pytest.mark.parametrize("n", [10**12, 2**62 + 1])
def test_choose_from_more_than_memory_holds(n):
    chosen = draw.choose(np.uint64(7), n, 50)
    assert chosen.tolist() == naive.choose(7, n, 50)
    assert chosen.max() > n // 2


def test_fewer_choices_are_a_prefix():
    npt.assert_array_equal(draw.choose(np.uint64(3), 20, 4), draw.choose(np.uint64(3), 20, 9)[:4])


@given(KEYS, SIZES, st.integers(2, 4), st.integers(1, 3), st.integers(0, 2))
def test_tasks_twin(key, sizes, n_way, k, q):
    support, query = tasks_of(key, 2, 3, (n_way, k, q), sizes)
    for e in range(3):
        twin = naive.task(key, 2 + e, members(*csr(sizes)), n_way, k, q)
        assert (support[e].tolist(), query[e].tolist()) == twin


@given(KEYS, SIZES, st.integers(2, 4), st.integers(1, 3), st.integers(1, 2))
def test_no_class_and_no_row_comes_twice(key, sizes, n_way, k, q):
    support, query = tasks_of(key, 0, 4, (n_way, k, q), sizes)
    owner = {row: c for c, rows in enumerate(members(*csr(sizes))) for row in rows}
    for e in range(4):
        drawn = np.concatenate([support[e], query[e]], 1)  # (n_way, k + q)
        assert len(np.unique(drawn)) == drawn.size
        classes = np.vectorize(owner.get)(drawn)
        assert (classes == classes[:, :1]).all()
        assert len(set(classes[:, 0])) == n_way


@given(KEYS, SIZES)
def test_support_of_one_shot_is_inside_that_of_three(key, sizes):
    one, queries = tasks_of(key, 0, 4, (3, 1, 2), sizes)
    three, same = tasks_of(key, 0, 4, (3, 3, 2), sizes)
    npt.assert_array_equal(queries, same)
    npt.assert_array_equal(one, three[:, :, :1])


@given(KEYS, st.permutations(range(4)))
def test_given_classes_keep_their_order(key, order):
    choices = np.array([order[:3]] * 2, dtype=np.int64)
    support, _ = tasks_of(key, 0, 2, (3, 2, 1), choices=choices)
    classes = members(*csr((9, 8, 7, 9)))
    for e in range(2):
        assert all(set(support[e, c]) <= set(classes[order[c]]) for c in range(3))


def recordings(sizes, per_recording):
    offsets, rows = csr(sizes)
    groups = np.full(3 * offsets[-1], -1)
    groups[rows] = np.arange(len(rows)) // per_recording
    return groups


@given(KEYS, st.integers(2, 3), st.integers(1, 2))
def test_recordings_twin(key, per_recording, k):
    sizes, groups = (18, 12, 12, 18), recordings((18, 12, 12, 18), per_recording)
    support, query = tasks_of(key, 0, 3, (3, k, 2), sizes, groups=groups)
    for e in range(3):
        twin = naive.task(key, e, members(*csr(sizes)), 3, k, 2, groups)
        assert (support[e].tolist(), query[e].tolist()) == twin
        assert not set(groups[support[e]].flat) & set(groups[query[e]].flat)


def test_recordings_that_cannot_be_kept_apart_are_reported():
    offsets, rows = csr((6, 6))
    support, query = np.empty((1, 2, 1), np.int64), np.empty((1, 2, 1), np.int64)
    groups = np.zeros(36, np.int64)
    fixed = np.empty((1, 0), np.int64)
    starts = offsets[:-1], np.diff(offsets)
    filled = draw.tasks(np.uint64(1), 0, fixed, *starts, rows, groups, support, query)
    assert not filled.any()


@given(
    KEYS,
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=6),
    st.integers(1, 3),
    st.data(),
)
def test_pairs_twin(key, sizes, k_pairs, data):
    n_sets = data.draw(st.integers(1, len(sizes)))
    sources, targets = zip(*sizes, strict=True)
    drawn = pairs_of(key, 4, 2, (n_sets, k_pairs, 3), sources, targets)
    sets = members(*csr(sources, 1)), members(*csr(targets, 2))
    for e in range(2):
        twin = naive.pairs(key, 4 + e, *sets, n_sets, n_sets * k_pairs, 3)
        assert tuple(part[e].tolist() for part in drawn) == twin


@given(KEYS)
def test_negatives_are_of_other_sets(key):
    source, target, negatives = pairs_of(key, 0, 5, (3, 2, 6))
    source_set = {r: s for s, rows in enumerate(members(*csr((3, 1, 4, 2), 1))) for r in rows}
    target_set = {r: s for s, rows in enumerate(members(*csr((2, 5, 1, 3), 2))) for r in rows}
    own = np.vectorize(source_set.get)(source)
    npt.assert_array_equal(own, np.vectorize(target_set.get)(target))
    assert (np.vectorize(target_set.get)(negatives) != own[:, :, None]).all()
    assert all(len(set(row)) == 3 for row in own)


@pytest.mark.parametrize("of", [tasks_of, pairs_of])
def test_any_split_of_the_episodes_and_any_number_of_threads(of):
    whole = of(11, 0, 40, (3, 2, 2))
    parts = [of(11, first, n, (3, 2, 2)) for first, n in ((0, 1), (1, 12), (13, 27))]
    for found, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        npt.assert_array_equal(found, np.concatenate(pieces))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        for found, again in zip(whole, of(11, 0, 40, (3, 2, 2)), strict=True):
            npt.assert_array_equal(found, again)
    finally:
        numba.set_num_threads(threads)


def digest():
    with np.errstate(over="ignore"):
        drawn = [*tasks_of(5, 0, 6, (3, 2, 2)), *pairs_of(5, 0, 6, (3, 2, 2))]
    return hashlib.sha256(b"".join(part.tobytes() for part in drawn)).hexdigest()


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_compiled_and_plain_python_draw_the_same(disabled):
    folder = Path(__file__).parent
    path = os.pathsep.join([str(folder), str(folder.parents[1])])
    plain = subprocess.run(
        [sys.executable, "-c", "import test_draw; print(test_draw.digest())"],
        env={**os.environ, "NUMBA_DISABLE_JIT": disabled, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout.strip() == digest()


@given(KEYS, st.lists(st.integers(1, 6), min_size=3, max_size=7), st.data())
def test_shared_negatives_twin(key, sizes, data):
    n_sets = data.draw(st.integers(1, len(sizes) - 1))
    offsets, rows = csr(sizes, 2)
    found = np.empty((3, 8), np.int64)
    draw.shared_negatives(np.uint64(key), 4, offsets, rows, n_sets, found)
    for e in range(3):
        twin = naive.shared_negatives(key, 4 + e, members(offsets, rows), n_sets, 8)
        assert found[e].tolist() == twin


@given(KEYS)
def test_shared_negatives_are_of_no_set_of_their_episode(key):
    _, target, _ = pairs_of(key, 0, 5, (2, 3, 1))
    offsets, rows = csr((2, 5, 1, 3), 2)
    owner = {row: s for s, part in enumerate(members(offsets, rows)) for row in part}
    found = np.empty((5, 9), np.int64)
    draw.shared_negatives(np.uint64(key), 0, offsets, rows, 2, found)
    for e in range(5):
        assert not {owner[r] for r in target[e]} & {owner[r] for r in found[e]}
