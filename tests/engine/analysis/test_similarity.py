"""Mutual nearest neighbours and debiased CKA: their definitions, invariances, and chance."""

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import XmgError
from xmg.engine.analysis import similarity
from xmg.engine.analysis.similarity import likeness
from xmg.engine.data.problem import open_problem


def slow_mutual_knn(x, y, k):
    """As Huh et al. print it: a set of neighbours for each row, one row after the other."""
    total = 0.0
    for i in range(len(x)):
        sets = []
        for space in (x, y):
            others = [j for j in range(len(x)) if j != i]
            cosine = {j: space[i] @ space[j] / np.linalg.norm(space[j]) for j in others}
            sets.append(set(sorted(others, key=cosine.__getitem__)[-k:]))
        total += len(sets[0] & sets[1]) / k
    return total / len(x)


def slow_hsic(k, m):
    """HSIC_1 as Song et al. print it, eq. 5."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    sums = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ m) + sums - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def slow_cka(x, y):
    k, m = x @ x.T, y @ y.T
    return slow_hsic(k, m) / np.sqrt(slow_hsic(k, k) * slow_hsic(m, m))


def mutual_knn(x, y, k):
    return similarity.mutual_knn_of(x, y, k)(np.arange(len(x)))


def debiased_cka(x, y):
    return similarity.cka_of(x, y)(np.arange(len(x)))


def spaces(seed, n=20, d=6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, 0.5 * x[:, :3] @ rng.normal(size=(3, 4)) + rng.normal(size=(n, 4)), rng


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


@given(st.integers(0, 2**32), st.integers(5, 25), st.integers(1, 4))
def test_twins(seed, n, k):
    x, y, _ = spaces(seed, n)
    assert mutual_knn(x, y, k) == pytest.approx(slow_mutual_knn(x, y, k), abs=1e-12)
    assert debiased_cka(x, y) == pytest.approx(slow_cka(x, y), abs=1e-9)


@given(st.integers(0, 2**32), st.floats(1e-3, 1e3))
def test_invariances(seed, scale):
    x, y, rng = spaces(seed)
    turned = scale * x @ rotation(rng, x.shape[1])
    assert mutual_knn(x, x, 3) == 1
    assert mutual_knn(turned, y, 3) == mutual_knn(x, y, 3) == mutual_knn(y, x, 3)
    assert debiased_cka(x, x) == pytest.approx(1)
    assert debiased_cka(turned + 5, y) == pytest.approx(debiased_cka(x, y), abs=1e-8)
    assert debiased_cka(y, x) == pytest.approx(debiased_cka(x, y), abs=1e-12)


@given(st.integers(0, 2**32))
def test_an_order_pairs_other_rows(seed):
    x, y, rng = spaces(seed)
    order = rng.permutation(len(x))
    again = mutual_knn(x, y[order], 4)
    assert similarity.mutual_knn_of(x, y, 4)(order) == pytest.approx(again, abs=1e-12)
    assert similarity.cka_of(x, y)(order) == pytest.approx(debiased_cka(x, y[order]), abs=1e-9)


def test_wide_independent_spaces_are_not_alike():
    """Where d >> n the biased estimate is near 1 for noise; the debiased one is not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50, 2000))
    centred = [(a - a.mean(0)) @ (a - a.mean(0)).T for a in (x, y)]
    biased = (centred[0] * centred[1]).sum() / np.prod([np.linalg.norm(c) for c in centred])
    assert biased > 0.9 and abs(debiased_cka(x, y)) < 0.1


def test_a_space_without_variance_is_like_nothing():
    x = np.random.default_rng(0).normal(size=(10, 3))
    assert debiased_cka(x, np.full((10, 4), 0.1)) == 0


def test_permutations_tell_pairs_from_noise():
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=(2, 60, 8))
    orders = [rng.permutation(60) for _ in range(99)]
    for figure in (lambda y: similarity.cka_of(x, y), lambda y: similarity.mutual_knn_of(x, y, 5)):
        same, other = (similarity.tested(figure(y), orders) for y in (x, noise))
        assert same.value == pytest.approx(1) and same.p == 1 / 100
        assert other.p > 0.05
        assert other.chance == pytest.approx(other.value, abs=0.05)
    chance = similarity.tested(similarity.mutual_knn_of(x, noise, 5), orders).chance
    assert chance == pytest.approx(5 / 59, abs=0.01)  # k of n - 1 others


def weak(folder, n_concepts):
    files = synthetic.write_pair(folder, n_classes=14, per_class=12)
    path = folder / "concepts.toml"
    names = [f"c{c:02d}" for c in range(n_concepts)]
    path.write_text("".join(f'[concept.{n}]\nsource = ["{n}"]\ntarget = ["{n}"]\n' for n in names))
    config = synthetic.config_of(*files, concepts=path)
    return likeness(open_problem(config).train, config)


def test_what_it_is_taken_on(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=14, per_class=12)
    config = synthetic.config_of(*files)
    found = likeness(open_problem(config).train, config)
    assert found.level == "pairs" and found.n == 8 * 12 and found.k == 10
    assert found.cka.p == found.mutual_knn.p == 1 / 200
    found = weak(tmp_path, 8)
    assert found.level == "set means" and found.n == 8 and found.k == 2
    with pytest.raises(XmgError, match=r"4 sets of pairs.*fix:"):
        weak(tmp_path, 4)


def test_several_pairs_of_one_row_are_taken_by_their_sets(tmp_path):
    """Two texts of one picture would be neighbours in either space, whatever the pairs."""
    source, target = synthetic.write_pair(tmp_path, n_classes=14, per_class=12)
    table = tmp_path / "pairs.csv"
    lines = [f"id{i:05d},id{i - i % 2:05d}\n" for i in range(len(source))]
    table.write_text("source_id,target_id\n" + "".join(lines))
    config = synthetic.config_of(source, target, pairs=table)
    found = likeness(open_problem(config).train, config)
    assert found.level == "set means" and found.n == 8


def test_of_many_pairs_some_are_drawn(tmp_path, monkeypatch):
    files = synthetic.write_pair(tmp_path, n_classes=14, per_class=12)
    config = synthetic.config_of(*files)
    train = open_problem(config).train
    monkeypatch.setattr(similarity, "_MOST", 40)
    one = likeness(train, config)
    assert one.n == 40 and one == likeness(train, config)
    assert one != likeness(train, config.model_copy(update={"seed": 1}))
