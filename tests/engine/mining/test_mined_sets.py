"""Co-occurrence, clusters, keys, and the comparison with a list made by hand."""

import math
from types import SimpleNamespace

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from agreement import Agreement, precision_recall
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import XmgError
from xmg.engine.mining import clusters, keys
from xmg.engine.mining.clusters import cluster_sets, default_n_sets
from xmg.engine.mining.cooccurrence import by_cooccurrence
from xmg.engine.mining.keys import pairs_by_key

LINES = st.lists(st.lists(st.sampled_from("abcde"), max_size=5), max_size=12)


@given(LINES)
def test_cooccurrence_twin(lines):
    names = ["a", "b", "c", "d_e"]
    found = by_cooccurrence(names, [" ".join(line) for line in lines])
    sets = [{i for i, n in enumerate(names) if set(n.split("_")) <= set(x)} for x in lines]
    for i in range(4):
        for j in range(i):
            together = sum({i, j} <= present for present in sets)
            n_i, n_j, n = (sum(i in p for p in sets), sum(j in p for p in sets), len(sets))
            if not together or together == n:
                expected = -1.0 if not together else 0.0
            else:
                p, p_i, p_j = together / n, n_i / n, n_j / n
                expected = together / (together + 1) * math.log(p / p_i / p_j) / -math.log(p)
            assert found.values[i, j] == found.values[j, i] == pytest.approx(expected)
    assert found.unknown == tuple(n for i, n in enumerate(names) if not any(i in p for p in sets))


def test_cooccurrence_of_real_words():
    texts = ["The dogs bark loudly", "a dog barks", "cats sleep", "Cat, asleep", "dog"]
    names = ["dog", "cat", "bark", "dog"]
    found = by_cooccurrence(names, texts)
    assert found.values[0, 2] > 0.2 and found.values[1, 2] == -1
    assert found.values[0, 3] == 1
    assert found.evidence("dog", "bark") == "together in 2 of 5 texts, alone in 3 and 2"


def test_default_n_sets():
    assert default_n_sets(10_000) == 100
    assert default_n_sets(10_000, 4) == 200
    assert (default_n_sets(0), default_n_sets(1), default_n_sets(4, 100)) == (1, 1, 4)
    for c in (0, -1, math.nan):
        with pytest.raises(XmgError, match="c must be above 0"):
            default_n_sets(5, c)


@pytest.mark.parametrize("many", [20_000, 1])
def test_cluster_sets_finds_clusters(monkeypatch, many):
    monkeypatch.setattr(clusters, "_MANY_ROWS", many)
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    x = 10 * rng.normal(size=(4, 6))[truth] + 0.1 * rng.normal(size=(200, 6))
    labels = cluster_sets(x.astype("f2"), 4, seed=3)
    assert labels.dtype == np.int64
    assert len(set(zip(truth.tolist(), labels.tolist(), strict=True))) == 4
    npt.assert_array_equal(labels, cluster_sets(x.astype("f2"), 4, seed=3))


def test_cluster_sets_of_few_different_rows():
    labels = cluster_sets(np.array([[0.0], [0.0], [1.0], [1.0]]), 3, seed=0)
    assert labels[0] == labels[1] != labels[2] == labels[3]
    assert sorted(set(labels.tolist())) == [0, 1]


def test_cluster_sets_refuses():
    x = np.ones((3, 2))
    for n in (0, 4):
        with pytest.raises(XmgError, match="3 pairs cannot form"):
            cluster_sets(x, n, 0)
    x[1, 1] = np.inf
    with pytest.raises(XmgError, match="pair 1 has source features that are not finite"):
        cluster_sets(x, 2, 0)


def keyed(path, values, prefix):
    ids = [f"{prefix}{i}" for i in range(len(values))]
    columns = {"recording": values}
    return synthetic.write(path, np.ones((len(ids), 2)), ["x"] * len(ids), ids, columns)


@given(st.lists(st.sampled_from(["", "a", "b", "é"]), min_size=1, max_size=6), st.data())
def test_pairs_by_key_twin(tmp_path_factory, left, data):
    right = data.draw(st.lists(st.sampled_from(["", "a", "b", "é"]), min_size=1, max_size=6))
    folder = tmp_path_factory.mktemp("key")
    files = keyed(folder / "s.h5", left, "s"), keyed(folder / "t.h5", right, "t")
    naive = [
        (f"s{i}", f"t{j}", a)
        for i, a in enumerate(left)
        for j, b in enumerate(right)
        if a and a == b
    ]
    if naive:
        assert pairs_by_key(*files, "recording") == naive
    else:
        with pytest.raises(XmgError, match=r"no pairs: .*no value is in both.*fix: --key"):
            pairs_by_key(*files, "recording")


def test_pairs_by_key_refuses(tmp_path, monkeypatch):
    file = keyed(tmp_path / "s.h5", ["a", "a"], "s")
    bare = synthetic.write(tmp_path / "b.h5", np.ones((1, 2)), ["x"])
    with pytest.raises(XmgError, match=r"lacks the column 'record'.*'recording'"):
        pairs_by_key(file, file, "record")
    with pytest.raises(XmgError, match="has no columns"):
        pairs_by_key(file, bare, "recording")
    monkeypatch.setattr(keys, "_MOST_PAIRS", 3)
    with pytest.raises(XmgError, match="gives 4 pairs"):
        pairs_by_key(file, file, "recording")


def concepts(**named):
    return SimpleNamespace(
        source={n: s.split() for n, (s, _) in named.items()},
        target={n: t.split() for n, (_, t) in named.items()},
    )


def test_precision_recall():
    by_hand = concepts(dog=("dog dalmatian", "bark"), cat=("cat", "meow"), car=("car", "horn"))
    mined = concepts(a=("dog", "bark"), b=("cat", "meow howl"), c=("cup", "pour"))
    links, groups = precision_recall(mined, by_hand)
    assert links == Agreement(2 / 4, 2 / 4)
    assert groups == Agreement(1 / 3, 1 / 3)  # half of b is not more than half
    assert links.f1 == 0.5
    assert precision_recall(by_hand, by_hand) == (Agreement(1.0, 1.0), Agreement(1.0, 1.0))
    nothing = precision_recall(concepts(), by_hand)[0]
    assert nothing == Agreement(0.0, 0.0) and nothing.f1 == 0
