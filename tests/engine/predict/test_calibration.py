"""Temperatures minimize the loss, and prediction sets keep what they promise."""

from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.data.pool import Pool
from xmg.engine.data.tasks import selection_tasks
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.evaluate import select
from xmg.engine.learner import CLASS_MEANS
from xmg.engine.meta_test import open_run
from xmg.engine.predict.calibration import (
    Tuning,
    _logits,
    _shape,
    _tasks,
    fit_temperature,
    tune,
)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_the_temperature_minimizes_the_loss(seed, scale):
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=300)
    logits = scale * torch.from_numpy(rng.normal(size=(300, 4)) + 2 * np.eye(4)[truth])
    labels = torch.from_numpy(truth)
    t = fit_temperature(logits, labels, 50)
    grid = np.geomspace(0.02, 50, 4000)
    best = grid[np.argmin([F.cross_entropy(logits / g, labels) for g in grid])]
    npt.assert_allclose(np.log(t), np.log(best), atol=5e-3)


@given(st.integers(0, 1000), st.integers(2, 30), st.sampled_from([1.0, 5.0, 30.0]))
def test_classes_without_a_mistake_do_not_make_certain(seed, n_classes, scale):
    """All right, by far: likelihood alone would take the coolest there is, and log-loss of 0."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=300)
    logits = scale * torch.from_numpy(rng.uniform(size=(300, 4)) + 2 * np.eye(4)[truth])
    t = fit_temperature(logits, torch.from_numpy(truth), n_classes)
    sure = (logits / t).softmax(-1).amax(-1).mean()
    npt.assert_allclose(1 - sure, 1 / (2 * n_classes + 2), atol=1e-4)


def test_sets_make_up_for_mistakes_that_few_classes_cannot_show():
    misfits = np.linspace(0.001, 1, 1000)
    flawless = Tuning(CLASS_MEANS, 1.0, 5, 1, 200, 1.0, 0.0, 9, misfits)  # 1/20 may be wrong
    assert flawless.threshold(0.9) == pytest.approx(0.9 / 0.95, abs=0.01)
    assert flawless.threshold(0.96) == 1.0  # more than nine classes can say
    known = replace(flawless, accuracy=0.95)  # as many mistakes as one must expect: they count
    assert known.threshold(0.9) == pytest.approx(0.905, abs=0.002)
    assert known.threshold(0.96) < 1


@given(
    st.lists(st.floats(0, 1), min_size=20, max_size=60),
    st.floats(0.05, 0.9),
    st.floats(0.01, 0.09),
)
def test_sets_grow_with_coverage_and_hold_the_likeliest(misfits, coverage, more):
    one = Tuning(CLASS_MEANS, 1.0, 3, 1, 10, 0.5, 0.1, 9, np.sort(misfits))
    p = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), 50))
    small, large = one.sets(p, coverage), one.sets(p, coverage + more)
    assert (small <= large).all()
    assert small.gather(1, p.argmax(1, keepdim=True)).all()


def test_the_threshold_is_the_quantile_of_a_sorted_list():
    misfits = np.linspace(0.01, 1, 100)
    one = Tuning(CLASS_MEANS, 1.0, 3, 1, 19, 0.5, 0.1, 9, misfits)
    assert one.threshold(0.9) == pytest.approx(misfits[94])  # 18 of 19 tasks: 94.7 of 100
    assert one.threshold(0.96) == 1.0  # more than 19 tasks can say


def test_sets_hold_the_true_class_as_often_as_promised(run, model):
    """On meta-test classes, which nothing here has seen; 20 tasks x 2 repeats x 15 queries."""
    config, problem, _ = open_run(run)
    for k in (1, 4):
        tasks = frozen_tasks(problem.test, config, [k])[k]
        one = tune(model, config.n_way, k)
        p = one.probabilities(_logits(model.learner, tasks, one.setting, config.tau))
        for coverage in (0.8, 0.9):
            sets = one.sets(p, coverage)
            truth = tasks.query_labels.expand(sets.shape[:2]).unsqueeze(-1)
            covered = sets.gather(-1, truth).double().mean((1, 2))
            error = covered.std() / len(covered) ** 0.5
            assert covered.mean() > coverage - 3 * error
            assert sets.double().mean() < 1  # and they do say something
        assert tasks.query_labels.expand(p.shape[:2]).shape == p.shape[:2]


def test_the_accuracy_to_expect_is_that_of_the_test_classes(run, model):
    config, problem, _ = open_run(run)
    tasks = frozen_tasks(problem.test, config, [4])[4]
    one = tune(model, 3, 4)
    right = model.learner.scores(tasks, [one.setting], config.tau)[0].argmax(-1)
    accuracy = (right == tasks.query_labels).double().mean()
    assert abs(one.accuracy - accuracy) < 0.12
    assert one.n_tasks == 200
    assert one.n_classes == len(model.validation.classes)


def test_the_setting_is_what_evaluate_chooses(run, model):
    config, problem, _ = open_run(run)
    for k in config.shots:
        tasks = selection_tasks(problem.validation, config, [k])[k]
        assert tune(model, 3, k).setting == select([model.learner], tasks, config.tau)[1]
        chosen, calibrating = _tasks(model, 3, k, 50)
        npt.assert_array_equal(chosen.support, tasks.support)
        npt.assert_array_equal(chosen.query, tasks.query)
        assert len(calibrating.support) == 50
        assert not (calibrating.support[:, None] == chosen.support).all((2, 3)).any()


def test_phi_serves_tasks_of_its_size_alone(model):
    assert "phi" in model.learner_for(3).theta
    for n_way in (2, 4):
        assert "phi" not in model.learner_for(n_way).theta
        assert tune(model, n_way, 2, 20).n_way == n_way


def test_tasks_larger_than_the_held_out_classes_are_met_as_near_as_can_be(model):
    n_held = len(model.validation.classes)
    one = tune(model, n_held + 5, 30, 10)
    assert (one.n_way, one.k_shot) == (n_held, 15)  # of 16 rows one is a query


def test_fewer_rows_than_the_shots_of_the_run_take(model):
    """As in an exported model, which keeps some rows of a class: 16 here, of 30 + 5 of the run."""
    few = replace(model, config=model.config.model_copy(update={"shots": (1, 30)}))
    chosen, calibrating = _tasks(few, 3, 1, 20)
    for tasks in (chosen, calibrating):
        assert tasks.support.shape[1:] == (3, 1) and tasks.query.shape[1:] == (3, 5)
        rows = np.concatenate([tasks.support, tasks.query], -1).reshape(len(tasks.support), -1)
        assert all(len({*row}) == 18 for row in rows.tolist())


def test_recordings_too_few_for_the_largest_shot_count_alone(model):
    """13 rows of each class are of one recording, in which some of 5 queries always are: beside
    them stand 3 rows at most, too few for 4 shots and enough for one."""
    pool = model.validation
    groups = len(pool.file) + np.arange(len(pool.file))
    for c in range(len(pool.classes)):
        groups[pool.members(c)[:13]] = c
    chosen, _ = _tasks(replace(model, validation=replace(pool, groups=groups)), 3, 1, 20)
    assert chosen.support.shape[1:] == (3, 1)


@given(st.lists(st.integers(2, 40), min_size=2, max_size=8), st.integers(2, 12),
       st.integers(1, 50), st.integers(1, 20))  # fmt: skip
def test_shapes_fit_the_classes(sizes, n_way, k, n_query):
    sizes = np.array(sizes)
    empty = np.empty(0, np.int64)
    pool = Pool(None, tuple(map(str, sizes)), np.cumsum(sizes) - sizes, sizes, empty, empty)
    kept, way, shots, queries = _shape(pool, n_way, k, n_query)
    assert way == min(n_way, len(sizes)) <= len(kept.classes)
    assert shots >= 1 <= queries
    assert (kept.sizes >= shots + queries).all()
    if np.sort(sizes)[-way] >= k + n_query:
        assert (shots, queries) == (k, n_query)
