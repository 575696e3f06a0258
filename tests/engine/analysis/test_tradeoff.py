"""The law of appendix B, and what pairs are worth in labels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.analysis.tradeoff import break_even, fit_law, labels_worth, worth_interval

COUNTS = (1, 2, 5, 10, 20)


@given(st.floats(0, 0.4), st.floats(0.05, 3))
def test_a_law_is_found_again(floor, c):
    x = [2, 4, 9, 18, 36]
    law = fit_law(x, [floor + c / one for one in x])
    assert law.floor == pytest.approx(floor, abs=1e-6) and law.c == pytest.approx(c, rel=1e-6)
    assert law.rms < 1e-6 and law.describes
    assert -1.001 < law.slope < 0
    assert law.at(7) == pytest.approx(floor + c / 7, rel=1e-6)
    if not floor:
        assert law.slope == pytest.approx(-1)


def test_what_the_law_does_not_describe():
    flat = fit_law([2, 4, 8], [0.3, 0.3, 0.3])
    assert flat.floor == pytest.approx(0.3) and not flat.describes
    rising = fit_law([2, 4, 8], [0.1, 0.2, 0.3])
    assert rising.c == 0 and not rising.describes
    slow = fit_law([1, 4, 16, 64, 256], [0.5, 0.4, 0.3, 0.2, 0.1])  # logarithmic
    assert slow.r2 < 0.9 and not slow.describes and slow.rms > 0.03


@given(st.floats(0.1, 2), st.floats(0.1, 2), st.integers(2, 50))
def test_break_even_without_floors_is_the_papers(c_s, c_t, n_sets):
    """c_s / S < c_t / N_t just where N_t < c_t S / c_s."""
    x = [2, 4, 9, 18]
    sets, labels = (fit_law(x, [c / one for one in x]) for c in (c_s, c_t))
    n = break_even(sets, labels, n_sets)
    assert n == pytest.approx(c_t * n_sets / c_s, rel=1e-4)
    assert labels.at(n) == pytest.approx(sets.at(n_sets), rel=1e-4)


def test_break_even_that_no_label_reaches():
    x = [2, 4, 9, 18]
    sets, labels = (fit_law(x, [floor + 1 / one for one in x]) for floor in (0.0, 0.3))
    assert math.isinf(break_even(sets, labels, 100))


def test_worth_on_a_curve():
    curve = np.array([0.4, 0.5, 0.6, 0.7, 0.8])
    for i, k in enumerate(COUNTS):
        assert labels_worth(COUNTS, curve, curve[i], 1) == pytest.approx(k - 1)
    halfway = labels_worth(COUNTS, curve, np.array(0.65), 5)
    assert halfway == pytest.approx(math.sqrt(5 * 10) - 5)
    assert math.isinf(labels_worth(COUNTS, curve, np.array(0.81), 1))
    assert labels_worth(COUNTS, curve, np.array(0.3), 1) == 0
    assert labels_worth(COUNTS, curve, np.array(0.45), 10) == 0  # less than what is there


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_better_alignment_is_worth_no_less(curve, a, b):
    low, high = labels_worth(COUNTS, np.array([curve] * 2), np.sort([a, b]), 2)
    assert 0 <= low <= high
    assert high <= 18 or math.isinf(high)


def test_interval_of_worth_may_be_open():
    found = worth_interval(np.array(3.0), np.array([1.0] * 50 + [np.inf] * 50))
    assert found == (3.0, 1.0, np.inf)
