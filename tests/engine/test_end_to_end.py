"""Two modalities with a known shared latent: the paper's promise, kept on data that allow it."""

import numpy as np
import pytest
import synthetic
import torch

from xmg.engine.data.problem import open_problem
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.evaluate import evaluate
from xmg.engine.learner import CLASS_MEANS, Learner, accuracies
from xmg.engine.meta_test import evaluate_run, pool_results
from xmg.engine.train import meta_train

SHOTS = (1, 5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    files = synthetic.write_pair(folder)
    config = synthetic.config_of(
        *files, n_way=5, n_query=10, shots=SHOTS, n_tasks=8, n_repeats=2, width=48, sets="id",
        n_negatives=8, align_rate=2e-3, iterations=120, validate_every=40,
    )  # fmt: skip
    meta_train(config, folder / "run")
    return config, folder / "run", evaluate_run(folder / "run")


def source_accuracy(config):
    """Class means of the source's own features, on the very same rows."""
    problem = open_problem(config)
    tasks = frozen_tasks(problem.test, config, SHOTS)
    source = torch.from_numpy(problem.train.source.file.features.copy())
    found = {}
    for k, t in tasks.items():
        seen = type(t)(t.support, t.query, t.rows, source[torch.from_numpy(t.rows)])
        found[k] = accuracies(Learner(lambda x: x), seen, [CLASS_MEANS], 1.0).mean().item()
    return found


def test_unseen_classes_are_as_easy_as_in_the_source(run):
    config, _, results = run
    mean = {(r.system, r.shots): r.mean for r in results}
    source = source_accuracy(config)
    for k in SHOTS:
        assert mean["CROMA", k] > source[k] - 0.05
        for system in ("pre-training", "class mean, raw", "class mean, whitened"):
            assert mean["CROMA", k] > mean[system, k] + 0.04
    assert mean["CROMA", 5] > mean["CROMA", 1]


def test_results(run):
    config, _, results = run
    assert [(r.system, r.shots) for r in results] == [
        (system, k)
        for system in ("pre-training", "class mean, raw", "class mean, whitened", "CROMA")
        for k in SHOTS
    ]
    for r in results:
        assert len(r.accuracies) == config.n_repeats
        assert r.mean == pytest.approx(np.mean(r.accuracies))
        assert r.std == pytest.approx(np.std(r.accuracies, ddof=1))


def test_repeats_are_means_over_tasks(run):
    config = run[0]
    problem = open_problem(config)
    learner = Learner(lambda x: x)
    found = evaluate({"raw": [learner]}, problem.validation, problem.test, config, [5])[0]
    tasks = frozen_tasks(problem.test, config, [5])[5]
    each = accuracies(learner, tasks, [CLASS_MEANS], config.tau)[0].numpy()
    expected = [each[8 * r : 8 * r + 8].mean() for r in range(2)]
    assert found.accuracies == pytest.approx(expected, rel=1e-6)


def test_evaluating_again_gives_the_same(run):
    _, folder, results = run
    assert evaluate_run(folder, shots=[5]) == [r for r in results if r.shots == 5]


def test_runs_are_pooled_by_system_and_shots(run):
    results = run[2]
    groups = pool_results([results, results])
    assert [(g[0].system, g[0].shots) for g in groups] == [(r.system, r.shots) for r in results]
    assert all(len(g) == 2 and g[0] == g[1] for g in groups)
