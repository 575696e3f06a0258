"""What tables say, against scipy's and term-by-term twins."""

import math
from types import SimpleNamespace

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xmg.engine.ablation.results import Finished
from xmg.engine.ablation.statistics import compare, holm, paired, summary, wins
from xmg.engine.ablation.tables import sections


def naive_holm(p):
    """As the paper has it: reject in ascending order while p_(i) <= alpha / (m - i)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    found = [0.0] * len(p)
    for place, i in enumerate(order):
        found[i] = min(1.0, max((len(p) - j) * p[order[j]] for j in range(place + 1)))
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holm(p):
    npt.assert_allclose(holm(p), naive_holm(p))
    assert all(c >= q for c, q in zip(holm(p), p, strict=True))


def test_holm_by_hand():
    npt.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    found = holm([0.01, math.nan, 0.04])
    npt.assert_allclose([found[0], found[2]], [0.02, 0.04])
    assert math.isnan(found[1])


def test_summary():
    rng = np.random.default_rng(0)
    x = rng.random((6, 40))
    found = summary(x)
    means = x.mean(1)
    low, high = stats.t.interval(0.95, 5, means.mean(), stats.sem(means))
    npt.assert_allclose(found, [means.mean(), means.std(ddof=1), low, high])
    alone = summary(x[:1])
    assert alone.mean == pytest.approx(x[0].mean()) and math.isnan(alone.low)


def test_an_interval_ends_where_accuracies_do():
    high = np.array([[1.0], [0.9], [1.0]])
    assert summary(high).high == 1 and summary(high).low < 0.9
    assert summary(1 - high).low == 0 and summary(1 - high).high > 0.1


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    drawn = (0.5 + 0.05 * rng.normal(size=(5, 3)) for _ in range(2000))
    covered = [(s := summary(x)).low < 0.5 < s.high for x in drawn]
    assert 0.93 < np.mean(covered) < 0.97


def test_compare():
    rng = np.random.default_rng(2)
    reference = rng.random((8, 10))
    rows = {"worse": reference - 0.1 + 0.02 * rng.random((8, 10)), "same": reference.copy()}
    found = compare(reference, rows)
    p = stats.ttest_1samp((reference - rows["worse"]).mean(1), 0).pvalue
    assert found["worse"].p == pytest.approx(2 * p)
    assert found["worse"].difference == pytest.approx(0.09, abs=0.005)
    assert found["worse"].wins == 1
    assert found["same"] == (0.0, 1.0, 0.5)


def test_degenerate_pairs():
    a = np.array([0.5, 0.6, 0.7])
    assert paired(a, a) == 1
    assert paired(a, a - 0.1) == pytest.approx(0, abs=1e-9)
    assert math.isnan(paired(a[:1], a[:1]))


def test_wins():
    assert wins(np.array([[1.0, 0.5], [0.2, 0.3]]), np.array([[0.5, 0.5], [0.3, 0.1]])) == 0.625


def test_false_alarms_under_no_difference():
    """With 5 equal rows, any rejection at 5% comes in at most 5% of tables."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(400):
        rows = {str(i): rng.normal(size=(6, 4)) for i in range(5)}
        found = compare(rng.normal(size=(6, 4)), rows)
        alarms += any(c.p < 0.05 for c in found.values())
    assert alarms / 400 < 0.08


def test_samples_read_are_told_of_all_seeds():
    """Class splits of other seeds leave more or fewer."""
    reads = [(340, 0), (355, 0), (350, 20)]
    found = [
        Finished(
            SimpleNamespace(label=row, axes={}, seed=seed),
            {"shots": {"1": {"tasks": [[0.5]]}}, "reads": {"samples": n, "labels": m}},
            None,
        )
        for row, rows in (("alike", reads[:1] * 3), ("not", reads))
        for seed, (n, m) in enumerate(rows)
    ]
    table = sections(found, [1], "alike")[0].parts[1]
    assert [(line[0], line[-1]) for line in table.lines] == [
        ("alike", "340 (0)"), ("not", "340-355 (0-20)"),
    ]  # fmt: skip
