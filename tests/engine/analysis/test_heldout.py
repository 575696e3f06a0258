"""Held-out tasks class by class: no class and no task chooses for itself."""

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xmg.cache import XmgError
from xmg.engine.analysis.heldout import (
    class_numbers_of,
    cross_fitted,
    curve_tasks,
    interval,
    resampled,
    right,
)
from xmg.engine.data.problem import open_problem
from xmg.engine.learner import accuracies
from xmg.engine.methods import class_mean
from xmg.engine.methods.system import unlabelled


def drawn(rng, n_tasks, n_classes, n_way):
    return np.stack([rng.permutation(n_classes)[:n_way] for _ in range(n_tasks)])


def test_a_class_does_not_choose_for_itself():
    """The second setting is right for class 0 alone, and so it is never chosen for it."""
    classes = drawn(np.random.default_rng(0), 24, 4, 3)
    plain = np.full(classes.shape, 0.6)
    found = np.stack([plain, np.where(classes == 0, 1.0, 0.0)])
    np.testing.assert_allclose(cross_fitted(found, classes), 0.6)


def test_a_task_does_not_choose_for_itself():
    """Each setting is right in one fold of tasks alone: chosen elsewhere, it is wrong here."""
    classes = drawn(np.random.default_rng(0), 24, 4, 3)
    fold = np.arange(24) % 4
    found = np.stack([np.tile((fold == f)[:, None], (1, 3)).astype(float) for f in range(4)])
    assert found.mean((1, 2)).min() == 0.25  # any one setting, chosen beforehand
    assert cross_fitted(found, classes).max() == 0


def test_noise_promises_nothing():
    """The best of twelve settings that guess looks better than it is, until it is cross-fitted."""
    best, honest = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        classes = drawn(rng, 24, 9, 5)
        found = rng.random((12, 24, 5))
        best.append(found.mean((1, 2)).max())
        honest.append(cross_fitted(found, classes).mean())
    assert np.mean(best) > 0.53
    assert np.mean(honest) == pytest.approx(0.5, abs=0.012)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_estimates_lie_among_those_of_settings(seed, n_choices):
    rng = np.random.default_rng(seed)
    classes = drawn(rng, 12, 5, 3)
    found = rng.random((n_choices, 12, 3))
    values = cross_fitted(found, classes)
    for c in np.unique(classes):
        of_class = found[:, classes == c]
        assert of_class.min() <= values[c] <= of_class.max()
        if n_choices == 1:
            assert values[c] == pytest.approx(of_class.mean())


def test_a_class_in_no_task_has_no_accuracy():
    classes = np.array([[0, 2], [2, 0]])
    assert np.isnan(cross_fitted(np.ones((1, 2, 2)), classes)[1])


def test_interval_is_students():
    values = np.array([0.1, 0.4, 0.3, 0.35])
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(interval(values), (values.mean(), *expected))
    assert np.isinf(interval(values[:1]).high)


def test_a_bootstrap_weighs_classes():
    weights = resampled(7, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights.mean(0), 1 / 7, atol=0.02)


def opened(folder, **settings):
    files = synthetic.write_pair(folder, n_classes=14, per_class=20)
    config = synthetic.config_of(*files, n_validation=6, **settings)
    return open_problem(config), config


def test_a_curve_shares_queries_and_supports(tmp_path):
    problem, config = opened(tmp_path, shots=(1, 4))
    tasks = curve_tasks(problem.validation, config)
    assert list(tasks) == [1, 2, 3, 4, 5, 7, 10, 15]  # 20 rows less 4 queries
    for k, one in tasks.items():
        np.testing.assert_array_equal(one.query, tasks[15].query)
        np.testing.assert_array_equal(one.support, tasks[15].support[:, :, :k])
    numbers = class_numbers_of(tasks[1], problem.validation.target.classes)
    assert numbers.shape == (6, 3) and numbers.max() < 3


def test_recordings_end_a_curve(tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=14, per_class=20)
    recordings = [f"{i // 4}" for i in range(len(target))]  # five of four rows in each class
    path = tmp_path / "cut.h5"
    labels = target.class_names()
    cut = synthetic.write(path, target.features, labels, columns={"recording": recordings})
    config = synthetic.config_of(source, cut, shots=(1, 2), n_query=5)
    tasks = curve_tasks(open_problem(config).validation, config)
    assert 2 <= max(tasks) < 15  # 15 rows are beside the queries, of fewer recordings
    config = synthetic.config_of(source, cut, shots=(14,), n_query=6)
    with pytest.raises(XmgError, match="too few recordings"):
        curve_tasks(open_problem(config).validation, config)


def test_answers_are_accuracies_by_class(tmp_path):
    problem, config = opened(tmp_path, shots=(1,))
    tasks = curve_tasks(problem.validation, config)[1]
    candidates = class_mean.whitened(unlabelled(problem, config), config)
    found = right(candidates, tasks, config.tau)
    assert found.shape == (9, 6, 3)
    plain = np.concatenate(
        [accuracies(c, tasks, c.settings(), config.tau).numpy() for c in candidates]
    )
    np.testing.assert_allclose(found.mean(-1), plain, atol=1e-6)
