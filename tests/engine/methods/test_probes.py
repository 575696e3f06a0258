"""Classifiers without episodes, task by task against scikit-learn and NumPy."""

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from xmg.cache import Sealed, XmgError
from xmg.engine.data.problem import open_problem
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.learner import CLASS_MEANS, Learner, Setting, accuracies
from xmg.engine.methods.cross_modal_probe import CROSS_MODAL_PROBE, CrossModalProbe
from xmg.engine.methods.probes import STRENGTHS, Probe
from xmg.engine.methods.simpleshot import SIMPLESHOT, SimpleShot
from xmg.engine.model.linear_probe import decision
from xmg.engine.systems import CLOSED_FORM

KINDS = pytest.mark.parametrize("kind", ["logistic", "ridge"])


def some_tasks(labels=None, n_tasks=5, n_way=3, k=3, q=6, dim=5, seed=0):
    """Tasks over 6 overlapping classes; file rows are 10, 13, 16, ..."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(6, dim)), 20, 0) + 0.9 * rng.normal(size=(120, dim))
    rows = 10 + 3 * np.arange(120)
    chosen = [rng.choice(6, n_way, replace=False) for _ in range(n_tasks)]
    drawn = np.array(
        [[rng.choice(rows[20 * c : 20 * c + 20], k + q, replace=False) for c in c] for c in chosen]
    )
    names = tuple(tuple(f"c{c:02d}" for c in task) for task in chosen)
    return Tasks(drawn[..., :k], drawn[..., k:], rows, torch.from_numpy(x), labels, names)


def of(tasks, part, e):
    return tasks.x[(part[e].ravel() - 10) // 3].numpy()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def noisy(seed=0, n_tasks=5, n_way=3, k=3):
    """Wrong labels; no label of task 0 names class 1, and those of task 1 name class 2 alone."""
    labels = np.random.default_rng(seed).integers(0, n_way, (n_tasks, n_way * k))
    labels[:, :n_way] = np.arange(n_way)
    labels[0][labels[0] == 1] = 0
    labels[1] = n_way - 1
    return labels


def logistic(c, x, labels, query, n_way):
    """By class names in another order, with scikit-learn's own normalization."""
    found = np.full((len(query), n_way), -np.inf)
    if len(set(labels.tolist())) == 1:
        found[:, labels[0]] = 0
        return found
    names = np.array([f"{9 - label}" for label in labels])
    model = make_pipeline(Normalizer(), LogisticRegression(C=c, max_iter=5000))
    model.fit(x, names)
    values = model.decision_function(query)
    values = np.stack([-values, values], 1) if values.ndim == 1 else values
    for name, column in zip(model.classes_, values.T, strict=True):
        found[:, 9 - int(name)] = column
    return found


def ridge(c, x, labels, query, n_way):
    """Least squares on targets of -1 and 1, centred, in closed form."""
    x, query = unit(x), unit(query)
    found = np.full((len(query), n_way), -np.inf)
    present = np.unique(labels)
    if len(present) == 1:
        found[:, present] = 0
        return found
    for label in present:
        y = np.where(labels == label, 1.0, -1.0)
        centred = x - x.mean(0)
        w = np.linalg.solve(centred.T @ centred + np.eye(x.shape[1]) / c, centred.T @ y)
        found[:, label] = (query - x.mean(0)) @ w + y.mean()
    return found


@KINDS
@pytest.mark.parametrize("n_way", [2, 3])
@pytest.mark.parametrize("wrong", [False, True])
def test_probes_task_by_task(kind, n_way, wrong):
    tasks = some_tasks(noisy(n_way=n_way) if wrong else None, n_way=n_way)
    found = Probe(kind, lambda x: 2 * x).scores(tasks, STRENGTHS, 0.2).numpy()
    twin = logistic if kind == "logistic" else ridge
    labels = tasks.support_labels.numpy()
    for s, strength in enumerate(STRENGTHS):
        for e in range(5):
            support, query = of(tasks, tasks.support, e), of(tasks, tasks.query, e)
            expected = twin(strength.c, support, labels[e], query, n_way)
            scale = np.abs(expected[np.isfinite(expected)]).max()
            loose = 0.03 if kind == "logistic" else 1e-9  # of an iteration that stops early
            npt.assert_allclose(found[s, e], expected, atol=loose * scale)


@KINDS
def test_a_class_without_a_label_is_never_the_answer(kind):
    rng = np.random.default_rng(0)
    x, query = rng.normal(size=(6, 4)), rng.normal(size=(20, 4))
    for labels in ([0, 0, 0, 2, 2, 2], [0, 2, 3, 3, 0, 2], [2] * 6):
        found = decision(kind, 1.0, x, np.array(labels), query, 4)
        present = np.isin(np.arange(4), labels)
        assert (found[:, ~present] == -np.inf).all() and np.isfinite(found[:, present]).all()


def test_logistic_start_of_a_learner_is_scikit_learns():
    tasks = some_tasks(noisy())
    setting = Setting("logistic", 10.0, 0)
    found = Learner(lambda x: x).scores(tasks, [setting], 0.2)[0].numpy()
    for e in range(5):
        support, query = of(tasks, tasks.support, e), of(tasks, tasks.query, e)
        expected = logistic(10.0, support, tasks.support_labels[e].numpy(), query, 3)
        npt.assert_array_equal(found[e].argmax(1), expected.argmax(1))


@pytest.mark.parametrize("wrong", [False, True])
def test_simpleshot_twin(wrong):
    tasks = some_tasks(noisy() if wrong else None)
    mean = np.linspace(-0.5, 0.5, 5)
    found = SimpleShot(torch.from_numpy(mean), frames=False).scores(tasks, [None], 0.2)[0]
    labels = tasks.support_labels.numpy()
    for e in range(5):
        z, query = (unit(of(tasks, part, e) - mean) for part in (tasks.support, tasks.query))
        for c in range(3):
            own = z[labels[e] == c]
            if not len(own):
                assert (found[e][:, c] == -torch.inf).all()
                continue
            distances = ((query - own.mean(0)) ** 2).sum(1)
            npt.assert_allclose(found[e][:, c], -distances, atol=1e-6)


def test_simpleshot_centres_by_the_target_rows_of_the_pairs(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    config = synthetic.config_of(*files)
    problem = open_problem(config)
    (one,) = SIMPLESHOT.candidates(SIMPLESHOT.view(problem, config), config)
    rows = problem.train.sets.target_rows
    npt.assert_allclose(one.mean, files[1].features[rows].astype(float).mean(0), atol=1e-6)
    assert not np.allclose(one.mean, files[1].features.mean(0), atol=1e-3)


def test_class_means_of_noisy_labels_are_scikit_learns():
    labels = noisy()
    labels[:2] = np.arange(3).repeat(3)  # all classes are named
    tasks = some_tasks(labels)
    found = Learner(lambda x: x).scores(tasks, [CLASS_MEANS], 0.2)[0]
    for e in range(5):
        support, query = unit(of(tasks, tasks.support, e)), of(tasks, tasks.query, e)
        means = NearestCentroid().fit(support, labels[e]).centroids_
        npt.assert_allclose(found[e], 1 - cdist(query, means, "cosine"), atol=1e-6)


def test_class_means_never_answer_a_class_without_a_label():
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]])
    rows = np.arange(6)
    labels = np.array([[0, 1, 1]])  # no label names class 2
    tasks = Tasks(rows[None, :3, None], rows[None, 3:, None], rows, x, labels)
    scores = Learner(lambda x: x).scores(tasks, [CLASS_MEANS], 0.2)
    assert not (scores.argmax(-1) == 2).any()


def borrowing(tasks, source, sizes, seed=0):
    starts = np.cumsum(sizes) - sizes
    names = tuple(f"c{c:02d}" for c in range(len(sizes)))
    pool = type("Pool", (), {"classes": names, "sizes": sizes, "starts": starts})
    return CrossModalProbe(lambda x: x, source, pool, seed).scores(tasks, STRENGTHS, 0.2)


def test_cross_modal_probe_reads_no_source_row_of_another_class():
    """Rows of classes that a task lacks are NaN, which scikit-learn would refuse."""
    tasks, sizes = some_tasks(n_tasks=1), np.array([4, 2, 7, 3, 5, 6])
    owner = np.repeat(np.arange(6), sizes)
    source = torch.from_numpy(unit(np.random.default_rng(1).normal(size=(sizes.sum(), 5))))
    whole = borrowing(tasks, source, sizes)
    task = [int(name[1:]) for name in tasks.names[0]]
    source[~np.isin(owner, task)] = torch.nan
    assert torch.equal(borrowing(tasks, source, sizes), whole)
    source[owner == task[0]] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        borrowing(tasks, source, sizes)


def test_cross_modal_probe_learns_from_source_rows_under_their_class():
    """Supports tell nothing; source rows lie where queries of their class do."""
    centres = np.eye(6, 6)
    sizes = np.full(6, 4)
    support = np.arange(9).reshape(1, 3, 3)
    query = 9 + np.arange(6).reshape(1, 3, 2)
    names = (("c04", "c01", "c02"),)
    x = np.r_[np.tile(centres[5], (9, 1)), centres[[4, 4, 1, 1, 2, 2]]]
    tasks = Tasks(support, query, np.arange(15), torch.from_numpy(x), None, names)
    found = borrowing(tasks, torch.from_numpy(np.repeat(centres, 4, 0)), sizes)
    assert (found.argmax(-1) == tasks.query_labels).all()


def test_cross_modal_probe_is_given_held_out_classes_alone(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    config = synthetic.config_of(*files)
    problem = open_problem(config)
    view = CROSS_MODAL_PROBE.view(problem, config)
    held = {*problem.validation.target.classes, *problem.test.target.classes}
    assert set(view.source.classes) == held
    assert {files[0].classes[c] for c in files[0].labels[view.source.rows]} == held
    assert isinstance(view.source.file, Sealed) and view.train is problem.train


def test_cross_modal_probe_needs_a_source_of_the_same_names(tmp_path):
    x = np.random.default_rng(0).normal(size=(120, 3)).astype("f4")
    source = synthetic.write(tmp_path / "s.h5", x, ["news", "sport", "weather"] * 40)
    target = synthetic.write(tmp_path / "t.h5", x, synthetic.names(10, 12))
    config = synthetic.config_of(source, target)
    with pytest.raises(XmgError, match=r"names the class 'c\d\d', which .*s\.h5 lacks"):
        CROSS_MODAL_PROBE.view(open_problem(config), config)


@pytest.mark.parametrize("name", ["class-mean", "logistic-probe", "ridge-probe", "simpleshot"])
def test_on_frozen_tasks_scores_are_of_the_files_rows(tmp_path, name):
    """Accuracy by class names that the target file gives, not by positions in a task."""
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    config = synthetic.config_of(*files)
    problem = open_problem(config)
    tasks = frozen_tasks(problem.test, config, [3])[3]
    system = CLOSED_FORM[name]
    one = system.candidates(system.view(problem, config), config)[0]
    setting = one.settings()[0]
    predicted = one.scores(tasks, [setting], config.tau)[0].argmax(-1).numpy()
    for e, names in enumerate(tasks.names):
        told = np.array(names)[predicted[e]]
        truth = np.array(files[1].class_names(tasks.query[e].ravel()))
        found = accuracies(one, tasks, [setting], config.tau)[0, e].item()
        assert found == pytest.approx((told == truth).mean())
