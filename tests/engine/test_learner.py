import inspect
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from xmg.engine import learner as learners
from xmg.engine.data.tasks import Tasks
from xmg.engine.data.views import MetaTest
from xmg.engine.evaluate import select, validation_accuracy
from xmg.engine.learner import CLASS_MEANS, Learner, Setting, accuracies, adapt, settings_of
from xmg.engine.model.heads import MLP, Linear, Residual, Through, project
from xmg.engine.model.lstm import LSTM

TAU = 0.2


def some_tasks(n_tasks=7, n_way=3, k=2, q=8, dim=5, seed=0):
    """Tasks over 6 overlapping classes; file rows are 10, 13, 16, ..."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(6, dim)), 20, 0) + 0.9 * rng.normal(size=(120, dim))
    rows = 10 + 3 * np.arange(120)
    drawn = np.stack(
        [
            [rng.choice(rows[20 * c : 20 * c + 20], k + q, replace=False) for c in classes]
            for classes in (rng.choice(6, n_way, replace=False) for _ in range(n_tasks))
        ]
    )
    return Tasks(drawn[..., :k], drawn[..., k:], rows, torch.from_numpy(x))


def features(tasks, rows):
    return tasks.x[(rows - 10) // 3]


def moving(seed=0, dim=5, width=4, n_way=3):
    generator = torch.Generator().manual_seed(seed)
    shapes = (dim, width), (width, n_way)
    head, phi = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return Learner(lambda x: 2 * x - 0.1, Linear(), {"target": head, "phi": phi})


def plain_scores(learner, tasks, setting, e):
    """Scores of one task by a plain PyTorch loop on autograd."""
    n_way = tasks.support.shape[1]
    support, query = (features(tasks, part[e].ravel()) for part in (tasks.support, tasks.query))
    labels = tasks.support_labels[e]
    learnt = {n: learner.theta[n].clone().requires_grad_() for n in learner.head.learns("target")}

    def embed(x):
        theta = {**learner.theta, **learnt}
        z = F.normalize(project(learner.head, theta, "target", learner.front(x)), dim=-1)
        if not setting.own:
            return z
        own = setting.own * F.normalize(learner.own(x), dim=-1)
        return F.normalize(torch.cat([z, own], -1), dim=-1)

    phi = learner.theta["phi"].clone()
    if setting.start == "class-means":
        phi = F.normalize(embed(support).T @ F.one_hot(labels, n_way).to(phi), dim=0).detach()
    phi.requires_grad_()
    optimizer = torch.optim.Adam([*learnt.values(), phi], lr=setting.rate)
    for _ in range(setting.n_steps):
        optimizer.zero_grad()
        F.cross_entropy(embed(support) @ phi / TAU, labels).backward()
        optimizer.step()
    unnamed = [c for c in range(n_way) if c not in labels]
    scores = (embed(query) @ phi).detach()
    scores[:, unnamed] = -torch.inf
    return scores


def alone(learner, tasks, setting, e):
    """Accuracy of one task by the same loop."""
    truth = torch.arange(tasks.query.shape[1]).repeat_interleave(tasks.query.shape[2])
    predicted = plain_scores(learner, tasks, setting, e).argmax(1)
    return (predicted == truth).double().mean().item()


@pytest.mark.parametrize("chunk", [40, 3])
def test_batched_adaptation_equals_each_task_alone(monkeypatch, chunk):
    monkeypatch.setattr(learners, "_CHUNK", chunk)
    tasks, learner = some_tasks(), moving()
    settings = [Setting(s, 0.03, n) for s in ("class-means", "meta") for n in (1, 5, 25)]
    found = accuracies(learner, tasks, settings, TAU)
    expected = [[alone(learner, tasks, s, e) for e in range(7)] for s in settings]
    npt.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert len(np.unique(np.round(np.mean(expected, 1), 6))) > 2  # the settings do differ


HEADS = {
    "linear": Linear(),
    "bias": Linear(bias=True),
    "mlp": MLP(hidden=11),
    "residual": Residual(rank=2),
    "through": Through("source"),
    "lstm": LSTM(hidden=3),
}


def started(head, dtype, n_way, dim=5, width=4):
    """A learner with this head; of sequences, rows have a column that marks frames."""
    rng = torch.Generator().manual_seed(1)
    deep = 6 if isinstance(head, Through) else width
    start = torch.randn(dim + isinstance(head, LSTM), deep, generator=rng, dtype=dtype)
    theta = head.begin("target", start, rng)
    theta = {
        n: v + 0.1 * torch.randn(v.shape, generator=rng, dtype=dtype) for n, v in theta.items()
    }
    theta["source"] = torch.randn(deep, width, generator=rng, dtype=dtype)
    theta["phi"] = torch.randn(width, n_way, generator=rng, dtype=dtype)
    return Learner(lambda x: x, head, theta, lambda x: x.flatten(1)[:, :3])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("head", HEADS)
def test_scores_of_every_head_are_those_of_a_plain_loop(set_torch_threads, head, dtype, n_threads):
    tasks, rng = some_tasks(n_tasks=4, k=3), np.random.default_rng(2)
    labels = rng.integers(0, 3, (4, 9))
    labels[1] = rng.integers(0, 2, 9)  # nothing names the last class
    x = tasks.x.to(dtype)
    if head == "lstm":
        frames = torch.stack([x, x.flip(-1), 2 * x], 1)
        x = torch.cat([frames, torch.ones(len(x), 3, 1, dtype=dtype)], -1)
    tasks = replace(tasks, labels=labels, x=x)
    learner = started(HEADS[head], dtype, 3)
    before = {name: value.clone() for name, value in learner.theta.items()}
    starts = product(("class-means", "meta"), (0, 1, 6))
    settings = [Setting(start, 0.02, n, own) for start, n in starts for own in (0.0, 0.5)
                if start == "class-means" or not own]  # fmt: skip
    set_torch_threads(n_threads)
    with torch.no_grad():
        found = learner.scores(tasks, settings, TAU)
    assert torch.get_num_threads() == n_threads
    for setting, scores in zip(settings, found, strict=True):
        expected = torch.stack([plain_scores(learner, tasks, setting, e) for e in range(4)])
        close = (
            {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 0, "atol": 2e-4}
        )
        torch.testing.assert_close(scores, expected, **close)
    assert all(torch.equal(learner.theta[name], value) for name, value in before.items())


def test_rows_may_be_embedded_in_parts(monkeypatch):
    tasks, learner = some_tasks(), moving()
    whole = learner.scores(tasks, [CLASS_MEANS], TAU)
    monkeypatch.setattr(learners, "_ROWS", 7)
    torch.testing.assert_close(learner.scores(tasks, [CLASS_MEANS], TAU), whole)


def test_without_a_head_the_classifier_alone_moves():
    tasks = some_tasks()
    still, moved = (
        Learner(lambda x: x).scores(tasks, [CLASS_MEANS._replace(rate=0.1, n_steps=n)], TAU)
        for n in (0, 5)
    )
    assert not torch.allclose(still, moved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.uint8])
def test_raw_rows_may_be_of_another_type_than_what_the_front_makes_of_them(dtype):
    x = (10 * torch.rand(12, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    learner = replace(moving(), front=lambda x: x.double())
    for start in ("class-means", "logistic"):
        setting = Setting(start, 1.0, 0)
        adapted = adapt(learner, x, torch.arange(12) % 3, 3, setting, TAU)
        assert adapted.logits(x).shape == (12, 3)


def test_settings_do_not_disturb_each_other():
    tasks, learner = some_tasks(), moving()
    before = learner.theta["target"].clone(), learner.theta["phi"].clone()
    settings = settings_of(learner)
    together = accuracies(learner, tasks, settings, TAU)
    apart = torch.cat([accuracies(learner, tasks, [s], TAU) for s in settings])
    assert torch.equal(together, apart)
    assert torch.equal(learner.theta["target"], before[0]) and torch.equal(
        learner.theta["phi"], before[1]
    )


def centroids(tasks, e, z):
    """Accuracy of scikit-learn's class means under the cosine."""
    n_way, k = tasks.support[e].shape
    support = normalize(z(features(tasks, tasks.support[e].ravel())))
    query = normalize(z(features(tasks, tasks.query[e].ravel())))
    labels = np.repeat(np.arange(n_way), k)
    means = NearestCentroid().fit(support, labels).centroids_ if k > 1 else support
    truth = np.repeat(np.arange(n_way), tasks.query.shape[2])
    return np.mean(cdist(query, means, "cosine").argmin(1) == truth)


@pytest.mark.parametrize("k", [1, 5])
def test_class_means(k):
    tasks, learner = some_tasks(k=k), moving()
    found = accuracies(learner, tasks, [CLASS_MEANS], TAU)[0]
    expected = [
        centroids(tasks, e, lambda x: (2 * x - 0.1) @ learner.theta["target"]) for e in range(7)
    ]
    npt.assert_allclose(found.numpy(), expected, atol=1e-6)
    found = accuracies(Learner(lambda x: x), tasks, [CLASS_MEANS], TAU)[0]
    npt.assert_allclose(found.numpy(), [centroids(tasks, e, lambda x: x) for e in range(7)], 1e-6)


def test_support_labels_decide():
    """With the classes of the support turned around, everything that was right is wrong."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(3), 10, 0) + 0.01 * rng.normal(size=(30, 3))
    rows = np.arange(30).reshape(1, 3, 10)
    right = Tasks(rows[..., :3], rows[..., 3:], np.arange(30), torch.from_numpy(x))
    wrong = Tasks(rows[:, [1, 2, 0], :3], rows[..., 3:], np.arange(30), torch.from_numpy(x))
    assert accuracies(Learner(lambda x: x), right, [CLASS_MEANS], TAU).item() == 1
    assert accuracies(Learner(lambda x: x), wrong, [CLASS_MEANS], TAU).item() == 0


def test_settings():
    assert settings_of(Learner(lambda x: x)) == [CLASS_MEANS]
    full = settings_of(moving())
    assert full[0] == CLASS_MEANS and len(set(full)) == len(full)
    assert {s.start for s in full} == {"class-means", "meta", "logistic"}
    assert {
        s.start for s in settings_of(Learner(lambda x: x, Linear(), {"target": torch.eye(2)}))
    } == {"class-means", "logistic"}


def test_select_takes_the_plainest_within_one_standard_error():
    tasks, learner = some_tasks(n_tasks=60, seed=3), moving(1)
    found = accuracies(learner, tasks, settings_of(learner), TAU).numpy()
    best = found[found.mean(1).argmax()]
    near = [(best - row).mean() <= (best - row).std(ddof=1) / len(row) ** 0.5 for row in found]
    assert select([learner], tasks, TAU) == (0, settings_of(learner)[near.index(True)])
    assert not near[0]
    easy = some_tasks(n_tasks=3)
    easy.x[:] = torch.eye(6, 5, dtype=torch.float64).repeat_interleave(20, 0)
    learner = Learner(lambda x: x, Linear(), {"target": torch.eye(5, dtype=torch.float64)})
    assert select([learner], easy, TAU) == (0, CLASS_MEANS)  # all settings are right everywhere


def test_validation_accuracy_is_the_mean_over_shots():
    one, five = some_tasks(k=1), some_tasks(k=5, seed=1)
    learner = moving()
    parts = [accuracies(learner, t, [CLASS_MEANS], TAU).mean().item() for t in (one, five)]
    found = validation_accuracy(learner, {1: one, 5: five}, TAU)
    assert found == pytest.approx(np.mean(parts), rel=1e-6)


@pytest.mark.parametrize("function", [select, validation_accuracy])
def test_selection_receives_no_test_object(function):
    signature = inspect.signature(function)
    assert not any(
        MetaTest.__name__ in str(p.annotation) or "Problem" in str(p.annotation)
        for p in signature.parameters.values()
    )


@pytest.mark.parametrize("own", [0.5, 2.0])
def test_own_features_stand_beside_the_heads(own):
    tasks, learner = some_tasks(k=3), moving()
    learner = replace(learner, own=lambda x: x[..., :3] - 0.2)

    def both(x):
        x = 2 * x - 0.1
        z = normalize(x @ learner.theta["target"])
        return np.concatenate([z, own * normalize(x[..., :3] - 0.2)], 1)

    found = accuracies(learner, tasks, [CLASS_MEANS._replace(own=own)], TAU)[0]
    npt.assert_allclose(found.numpy(), [centroids(tasks, e, both) for e in range(7)], atol=1e-6)
    without = accuracies(learner, tasks, [CLASS_MEANS], TAU)[0]
    npt.assert_array_equal(without, accuracies(moving(), tasks, [CLASS_MEANS], TAU)[0])
    assert not torch.equal(found, without)


def test_own_features_are_among_the_settings():
    learner = moving()
    beside = settings_of(replace(learner, own=learner.front))
    weights = {s.own for s in beside}
    assert weights == {0.0, 0.5, 1.0, 2.0, 4.0}
    assert len(beside) == 14  # as many as the protocol grants
    assert {s.own for s in beside if s.start == "logistic"} == weights
    alone = settings_of(learner)
    assert {s.own for s in alone} == {0.0}
    assert {s.rate for s in alone if s.start == "logistic"} == {1.0, 10.0, 100.0, 1000.0}
