"""The estimator keeps scikit-learn's rules, and answers what the engine's learner answers."""

import json
import pickle
import shutil
import warnings

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import xmg
from xmg.cache import XmgError
from xmg.engine import meta_test
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.learner import Setting, adapt, logits_of
from xmg.engine.meta_test import open_run
from xmg.engine.predict import classifier as classifiers
from xmg.engine.predict.calibration import tune
from xmg.engine.predict.classifier import CrossModalClassifier
from xmg.engine.train import meta_train

SETTINGS = [
    Setting("class-means", 0.0, 0, 1.0),
    Setting("class-means", 0.01, 5),
    Setting("meta", 0.01, 7),
    Setting("logistic", 10.0, 0, 0.5),
]


@parametrize_with_checks([CrossModalClassifier()])
def test_rules_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.start}-{s.n_steps}")
def test_adapted_once_answers_as_tasks_side_by_side(run, model, setting):
    config, problem, _ = open_run(run)
    tasks = frozen_tasks(problem.test, config, [4])[4]
    tau = config.tau
    expected = logits_of(model.learner.scores(tasks, [setting], tau)[0], setting, tau)
    for e in range(3):
        support, query = (tasks.x[tasks.locate(part[e]).flatten()]
                          for part in (tasks.support, tasks.query))  # fmt: skip
        one = adapt(model.learner, support, tasks.support_labels[e], 3, setting, tau)
        npt.assert_allclose(one.logits(query).numpy(), expected[e].numpy(), atol=2e-4)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.start}-{s.n_steps}")
@pytest.mark.parametrize("named", [(0, 2), (1,)])
def test_a_class_without_labels_is_never_answered(model, task, setting, named):
    x, names, query, _ = task
    numbers = np.unique(names, return_inverse=True)[1]
    kept = np.isin(numbers, named)
    labels = torch.from_numpy(numbers[kept])
    logits = adapt(model.learner, torch.from_numpy(x[kept]), labels, 3, setting, 0.2).logits(
        torch.from_numpy(query)
    )
    p = logits.softmax(-1)
    assert p.isfinite().all()
    npt.assert_array_equal((p > 0).any(0).numpy(), np.isin(range(3), named))


def test_two_classes_are_as_sure_as_scikit_learn(model, task):
    from sklearn.linear_model import LogisticRegression

    x, names, query, _ = task
    labels = torch.from_numpy((names[:8] != names[0]).astype(int))
    setting = Setting("logistic", 3.0, 0)
    one = adapt(model.learner, torch.from_numpy(x[:8]), labels, 2, setting, 0.2)
    p = one.logits(torch.from_numpy(query)).softmax(-1).numpy()
    head = model.learner.theta["target"]
    z, q = (
        torch.nn.functional.normalize(model.learner.front(torch.from_numpy(r)) @ head, dim=-1)
        for r in (x[:8], query)
    )
    twin = LogisticRegression(C=3.0, max_iter=1000).fit(z.numpy(), labels.numpy())
    npt.assert_allclose(p, twin.predict_proba(q.numpy()), atol=1e-4)


def test_runs_paths_and_models_are_one(run, model, task):
    x, names, query, _ = task
    found = [CrossModalClassifier(r).fit(x, names).predict_proba(query) for r in (str(run), model)]
    loaded = xmg.load(run).fit(x, names)
    npt.assert_array_equal(found[0], found[1])
    npt.assert_array_equal(found[0], loaded.predict_proba(query))
    npt.assert_allclose(found[0].sum(1), 1)
    npt.assert_array_equal(loaded.classes_[found[0].argmax(1)], loaded.predict(query))


def test_arrays_lists_and_tensors_are_one(model, task):
    x, names, query, _ = task
    kinds = (np.asarray, torch.from_numpy, np.ndarray.tolist, lambda a: a.astype("f8"))
    fitted = [CrossModalClassifier(model).fit(kind(x), list(names)) for kind in kinds]
    found = [one.predict_proba(kind(query)) for one, kind in zip(fitted, kinds, strict=True)]
    for one in found[1:]:
        npt.assert_array_equal(one, found[0])


def test_bfloat16_is_read_as_single_precision(model, task):
    x, names, query, _ = task
    halves = [torch.from_numpy(part).bfloat16() for part in (x, query)]
    singles = [part.float().numpy() for part in halves]
    for run in (None, model):
        found, expected = (
            CrossModalClassifier(run).fit(few, names).predict_proba(more)
            for few, more in (halves, singles)
        )
        npt.assert_array_equal(found, expected)
    assert classifiers._sequences([torch.ones(3, 4, dtype=torch.bfloat16)], 4).shape == (1, 3, 5)


@pytest.mark.parametrize(("known", "beyond"), [(True, (1e38, 1e300)), (False, (1e300,))])
def test_values_too_large_for_the_precision_are_refused(model, task, known, beyond):
    """Their lengths overflow: answers would be NaN, or the same for all."""
    x, names, query, _ = (part.astype("f8") if part.dtype.kind == "f" else part for part in task)
    one = CrossModalClassifier(model if known else None).fit(x, names)
    for scale in beyond:
        for work in (one.predict_proba, one.predict, lambda rows: one.fit(rows, names)):
            with pytest.raises(ValueError, match=r"too large for float(32|64)"):
                work(x * scale)
    far = (one.predict_proba(query * scale) for scale in (1e10, 1e16))
    npt.assert_allclose(*far, atol=1e-4)
    for largest in (1e38, 1e300):
        with pytest.raises(ValueError, match=r"X\[0\] has values up to .*too large for float32"):
            classifiers._sequences([np.full((1, 4), largest)], 4)


def test_it_beats_the_one_without_a_run(model, task_of):
    held = [f"c{c:02d}" for c in range(60)]
    right = {None: [], model: []}
    for seed in range(12):
        classes = np.random.default_rng(seed).choice(held, 3, replace=False).tolist()
        x, names, query, truth = task_of(sorted(classes), seed, 1)
        for r, found in right.items():
            found.append(CrossModalClassifier(r).fit(x, names).score(query, truth))
    assert np.mean(right[model]) > np.mean(right[None]) + 0.1


def test_numbers_of_labels_per_class_may_differ(model, task):
    x, names, query, truth = task
    kept = [0, 4, 5, 8, 9, 10, 11]
    one = CrossModalClassifier(model).fit(x[kept], names[kept])
    assert one.score(query, truth) > 0.5


def test_one_label_for_each_of_many_classes_is_no_regression():
    labels = [f"c{i}" for i in range(30)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(CrossModalClassifier().fit(np.eye(30), labels).classes_) == 30


def test_copies_answer_alike(model, task):
    x, names, query, _ = task
    one = CrossModalClassifier(model).fit(x, names)
    other = pickle.loads(pickle.dumps(one))  # noqa: S301  (our own)
    npt.assert_array_equal(other.predict_proba(query), one.predict_proba(query))
    again = clone(one).fit(x, names)
    assert again.model_ is model
    npt.assert_allclose(again.predict_proba(query), one.predict_proba(query), atol=1e-6)


def test_leaving_out_is_fitting_on_the_others(model, task):
    x, names, _, _ = task
    one = CrossModalClassifier(model).fit(x, names)
    groups = np.arange(12) // 2  # pairs of rows
    found = one.leave_out(x, names, groups)
    for g in range(6):
        others = CrossModalClassifier(model)
        others.model_, others.classes_, others.tuning_ = model, one.classes_, one.tuning_
        kept = groups != g
        others.adapted_ = others._adapt(
            torch.from_numpy(x[kept]), torch.from_numpy(np.searchsorted(one.classes_, names[kept]))
        )
        others.n_features_in_ = x.shape[1]
        npt.assert_allclose(others.predict_proba(x[~kept]), found[~kept], atol=1e-6)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_part_that_is_left_out_never_holds_a_class_whole(shuffled):
    """Of more than a hundred rows, which fall into parts: classes far apart, in turns or mixed."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(40), 3)
    y = rng.permutation(y) if shuffled else y
    x = rng.normal(size=(40, 64))[y] + 0.01 * rng.normal(size=(120, 64))
    p = CrossModalClassifier().fit(x, y).leave_out(x, y)
    npt.assert_array_equal(p.argmax(1), y)
    p = CrossModalClassifier().fit(x, y).leave_out(x, y, rng.permutation(120).astype(str))
    npt.assert_array_equal(p.argmax(1), y)


def test_leaving_out_wants_the_labels_and_the_width_of_fit(model, task):
    """Another label was taken for the class that it sorts before, and another width was kept."""
    x, names, query, _ = task
    for run in (None, model):
        one = CrossModalClassifier(run).fit(x, names)
        expected = one.predict_proba(query)
        for unknown in ("c00", f"{one.classes_[0]}-", "z"):
            with pytest.raises(ValueError, match=f"y has '{unknown}', and fit was told of 'c"):
                one.leave_out(x, np.where(names == names[0], unknown, names))
        with pytest.raises(ValueError, match="47 features"):
            one.leave_out(x[:, 1:], names)
        with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[12, 3\]"):
            one.leave_out(x, names, [0, 1, 2])
        npt.assert_array_equal(one.predict_proba(query), expected)
        assert one.leave_out(x[:8], names[:8]).shape == (8, 3)


def test_what_has_no_order_or_is_hidden_is_refused(model, task):
    x, names, *_ = task
    odd = np.array([*names[1:], 1], object)
    hidden = np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 5)
    for run in (None, model):
        one = CrossModalClassifier(run).fit(x, names)
        with pytest.raises(ValueError, match="groups must be all text or all numbers"):
            one.leave_out(x, names, odd)
        with pytest.raises(ValueError, match="X is masked"):
            one.predict(hidden)
        with pytest.raises(ValueError, match="X is masked"):
            one.predict([*hidden])
        with pytest.raises(ValueError, match="X is masked"):
            CrossModalClassifier(run).fit(hidden, names)
        assert (one.predict(np.ma.masked_array(x)) == one.predict(x)).all()  # hides nothing


def test_rows_of_no_known_group_are_left_out_alone(task):
    x, names, *_ = task
    one = CrossModalClassifier().fit(x, names)
    unknown = one.leave_out(x, names, [np.nan] * len(x))
    npt.assert_array_equal(unknown, one.leave_out(x, names))


def test_rows_may_be_a_list_of_tensors(model, task):
    x, names, query, _ = task
    rows = [torch.tensor(row, dtype=torch.bfloat16, requires_grad=True) for row in x]
    found = CrossModalClassifier(model).fit(rows, names).predict_proba(query)
    whole = torch.tensor(x, dtype=torch.bfloat16)
    npt.assert_array_equal(
        found, CrossModalClassifier(model).fit(whole, names).predict_proba(query)
    )


def test_many_rows_are_left_out_in_twenty_folds(model, task_of, monkeypatch):
    x, names, *_ = task_of([f"c{c:02d}" for c in range(12)], 0, 9)
    one = CrossModalClassifier(model).fit(x, names)
    counted = []
    adapted = CrossModalClassifier._adapt
    monkeypatch.setattr(
        CrossModalClassifier, "_adapt", lambda *a: counted.append(len(a[1])) or adapted(*a)
    )
    found = one.leave_out(x, names)
    assert len(counted) == 20 and min(counted) >= 102  # of 108 rows
    assert (found.sum(1) > 0.99).all()
    kept = np.arange(108) % 20 != 3
    numbers = torch.from_numpy(np.searchsorted(one.classes_, names[kept]))
    left = one._adapt(torch.from_numpy(x[kept]), numbers)
    expected = one._probabilities(left.logits(torch.from_numpy(x[~kept])).double())
    npt.assert_allclose(found[~kept], expected.numpy(), atol=1e-6)


def test_tuning_happens_once_for_each_size(model, task, monkeypatch):
    x, names, _, _ = task
    CrossModalClassifier(model).fit(x, names)
    monkeypatch.setattr("xmg.engine.predict.calibration._tune", lambda *a: pytest.fail("again"))
    CrossModalClassifier(model).fit(x, names)
    assert tune(model, 3, 4) is CrossModalClassifier(model).fit(x, names).tuning_


def test_what_is_refused(model, task, tmp_path):
    x, names, query, _ = task
    one = CrossModalClassifier(model)
    with pytest.raises(NotFittedError):
        one.predict(query)
    with pytest.raises(ValueError, match="one class, 'c03'"):
        one.fit(x[:4], names[:4])
    with pytest.raises(ValueError, match="47 features, and the run reads 48"):
        one.fit(x[:, 1:], names)
    with pytest.raises(ValueError, match="NaN"):
        one.fit(x * np.nan, names)
    with pytest.raises(ValueError, match="47 features"):
        one.fit(x, names).predict(query[:, 1:])
    with pytest.raises(XmgError, match="neither a run folder"):
        CrossModalClassifier(tmp_path).fit(x, names)
    with pytest.raises(XmgError, match="there is none"):
        CrossModalClassifier().fit(x, names).predict_sets(query)
    with pytest.raises(XmgError, match="between 0 and 1"):
        one.predict_sets(query, 1.0)
    for wrong in ("x", None, [0.9]):
        with pytest.raises(ValueError, match="is no number"):
            one.predict_sets(query, wrong)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        xmg.nothing  # noqa: B018


def test_an_edited_head_is_refused(run, tmp_path):
    """What is not there was a KeyError, and what is there beyond was passed over."""
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    settings = json.loads(path.read_text())
    for edit in ({"head": "mlp"}, {"bias": True}):
        path.write_text(json.dumps({**settings, **edit}))
        with pytest.raises(XmgError, match=r"config\.json names another head .* fix: undo"):
            xmg.load(tmp_path / "run")
    path.write_text(json.dumps(settings))
    config, _, state = open_run(tmp_path / "run")
    state.theta["target.up"] = state.theta["target"]
    with pytest.raises(XmgError, match="another head"):
        meta_test._check_head(run, config, state)


def test_sequences_are_checked():
    frames = [np.ones((3, 4), "f4"), np.zeros((1, 4))]
    x = classifiers._sequences(frames, 4)
    assert x.shape == (2, 3, 5)
    npt.assert_array_equal(x[..., -1].numpy(), [[1, 1, 1], [1, 0, 0]])
    for bad in ([np.ones((3, 5))], [np.ones(4)], [np.ones((0, 4))], [np.full((1, 4), np.inf)]):
        with pytest.raises(ValueError, match=r"X\[0\]"):
            classifiers._sequences(bad, 4)
    assert classifiers._labels(["a", "b"], 2).tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="2 sequences"):
        classifiers._labels(["a"], 2)


def test_a_run_on_sequences_reads_lists(tmp_path):
    rng = np.random.default_rng(0)
    means = rng.normal(size=(16, 6))
    labels = synthetic.names(16, 8)
    files = []
    for side in ("source", "target"):
        frames = [
            (means[i // 8] + 0.5 * rng.normal(size=(int(rng.integers(2, 6)), 6))).astype("f4")
            for i in range(128)
        ]
        files.append(synthetic.write(tmp_path / f"{side}.h5", frames, labels, sequences=True))
    config = synthetic.config_of(
        *files, iterations=2, n_validation=3, n_sets=4, n_way=2, shots=(2,), n_query=2, head="lstm",
        hidden=8, width=8, n_tasks=2,
    )  # fmt: skip
    meta_train(config, tmp_path / "run")
    rows = [f"c{c:02d}" for c in (1, 9)]
    picked = [files[1].take(files[1].rows_of(files[1].classes.index(name))) for name in rows]
    one = xmg.load(tmp_path / "run").fit(picked[0][:3] + picked[1][:3], ["a"] * 3 + ["b"] * 3)
    p = one.predict_proba(picked[0][3:] + picked[1][3:])
    assert p.shape == (10, 2)
    npt.assert_allclose(one.predict_proba([torch.tensor(picked[0][3])]), p[:1], atol=1e-5)
    assert one.leave_out(picked[0][:2] + picked[1][:2], ["a", "a", "b", "b"]).shape == (4, 2)
