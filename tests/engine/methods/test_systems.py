"""Every system trains and is evaluated on modalities whose truth is known."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from xmg.cache import XmgError
from xmg.engine.data.problem import open_problem
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.evaluate import evaluate
from xmg.engine.learner import CLASS_MEANS, Learner, accuracies
from xmg.engine.methods.system import learner
from xmg.engine.run import BEST, LAST, load_state, read_metrics
from xmg.engine.systems import CLOSED_FORM, SYSTEMS, TRAINED, system_of
from xmg.engine.train import meta_train

ALIGNED = ("croma", "align-meta-classify", "align-classify")
BY_HALF = ("align-classify-cycle", "shared-align")  # through less: a cycle, the source's width
MAPS = ("cca", "csa", "ridge-map")
CLASSIFIERS = {  # sets of one pair each would teach nothing
    "set-classifier": {"sets": "label", "classify_rate": 1e-2},
    "target-classifier": {"classify_rate": 1e-2},
}
WITHOUT_PAIRS = ("pre-training", "class-mean", "simpleshot")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Losses, validation and test accuracy of every system, all from the identity."""
    folder = tmp_path_factory.mktemp("systems")
    files = synthetic.write_pair(folder, n_classes=24, per_class=24, latent=12, dim=24)
    settings = {
        "n_way": 5, "n_query": 10, "shots": (5,), "n_tasks": 6, "n_repeats": 1, "n_validation": 6,
        "width": 24, "sets": "id", "start": "identity", "n_negatives": 8, "align_rate": 1e-2,
        "classify_rate": 1e-3,         "iterations": 50, "validate_every": 5,
    }  # fmt: skip
    config = synthetic.config_of(*files, **settings)
    problem = open_problem(config)
    candidates, metrics = {}, {}
    for name, system in CLOSED_FORM.items():
        candidates[name] = system.candidates(system.view(problem, config), config)
    for name in TRAINED:
        further = CLASSIFIERS.get(name, {})
        own = config.model_copy(update={"system": name, **further})
        meta_train(own, folder / name)
        state = load_state(folder / name / LAST)
        candidates[name] = [learner(state.theta, state.fronts, own)]
        metrics[name] = read_metrics(folder / name)
    results = evaluate(candidates, problem.validation, problem.test, config, (5,))
    tasks = frozen_tasks(problem.test, config, (5,))[5]
    x = torch.from_numpy(files[0].features[tasks.rows])
    bare = type(tasks)(tasks.support, tasks.query, tasks.rows, x)
    source = accuracies(Learner(lambda rows: rows), bare, [CLASS_MEANS], 1.0).mean().item()
    nearest = {
        name: accuracies(candidates[name][0], tasks, [CLASS_MEANS], 1.0).mean().item()
        for name in (*TRAINED, *MAPS)
    }
    return SimpleNamespace(
        accuracy={r.system: r.mean for r in results},
        nearest=nearest,
        metrics=metrics,
        source=source,
        discriminants=discriminants(problem, config, tasks),
    )


def discriminants(problem, config, tasks):
    """Accuracy of class means in scikit-learn's discriminant space of all labelled target rows."""
    pool = TRAINED["oracle"].view(problem, config).target
    labels = np.repeat(np.arange(len(pool.classes)), pool.sizes)
    lda = LinearDiscriminantAnalysis().fit(pool.file.features[pool.rows], labels)
    space = Learner(lambda rows: torch.from_numpy(lda.transform(rows.numpy())).float())
    return accuracies(space, tasks, [CLASS_MEANS], 1.0).mean().item()


@pytest.mark.parametrize("name", (*ALIGNED, *MAPS))
def test_alignment_makes_the_target_nearly_as_easy_as_the_source(found, name):
    assert found.source > 0.9
    assert found.nearest[name] > found.source - 0.06
    assert found.accuracy[name] > found.accuracy["class-mean"] + 0.3


@pytest.mark.parametrize("name", BY_HALF)
def test_other_alignments_close_more_than_half_of_the_gap(found, name):
    raw = found.accuracy["class-mean"]
    assert found.nearest[name] > raw + 0.5 * (found.source - raw)


@pytest.mark.parametrize("name", WITHOUT_PAIRS)
def test_without_pairs_there_is_no_profit(found, name):
    assert found.accuracy[name] < found.source - 0.25


@pytest.mark.parametrize(
    "name", ["oracle", "target-classifier", "set-classifier", "weak-labels", "reconstruct"]
)
def test_what_learns_from_target_rows_beats_raw_class_means(found, name):
    assert found.accuracy[name] > found.accuracy["class-mean"] + 0.1


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_of_all_classes_finds_what_linear_discriminants_do(found, name):
    assert found.nearest[name] > found.discriminants - 0.05


def test_source_samples_of_new_classes_help_most(found):
    assert found.accuracy["cross-modal-probe"] > found.source - 0.03


def test_every_system_is_above_chance(found):
    assert set(found.accuracy) == set(SYSTEMS)
    assert min(found.accuracy.values()) > 0.3


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_and_of_every_stage(found, name):
    rows = found.metrics[name]
    assert [row["iteration"] for row in rows] == [*range(0, 51, 5)]
    for row in rows[1:]:
        losses = {key: value for key, value in row.items() if key.endswith("_loss")}
        assert set(losses) == {f"{stage.name}_loss" for stage in TRAINED[name].stages}
        assert all(math.isfinite(value) and value >= 0 for value in losses.values())
        assert 0 <= row["validation_accuracy"] <= 1


@pytest.mark.parametrize(
    ("name", "loss", "share"),
    [
        ("reconstruct", "reconstruct_loss", 0.5),
        ("align-classify-cycle", "cycle_loss", 0.8),
        ("shared-align", "align_loss", 0.5),
        ("align-classify", "classify_loss", 0.7),
    ],
)
def test_what_is_minimized_falls(found, name, loss, share):
    rows = found.metrics[name]
    assert rows[-1][loss] < share * rows[1][loss]


def test_alignment_improves_where_a_shared_encoder_starts(found):
    rows = found.metrics["shared-align"]
    assert rows[-1]["validation_accuracy"] > rows[0]["validation_accuracy"] + 0.05


# The same bytes, whatever happens ---------------------------------------------------------------


class Interruption(Exception):  # noqa: N818 - it is no error
    pass


def stop_at(iteration):
    def progress(done, _total, _best):
        if done == iteration:
            raise Interruption

    return progress


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return synthetic.write_pair(folder, n_classes=10, per_class=12, latent=4, dim=6)


def config_of(files, **settings):
    small = {"iterations": 6, "validate_every": 3, "inner_steps": 2, "width": 8, "n_validation": 4}
    return synthetic.config_of(*files, **{**small, "k_shot": 3, **settings})


def same(one, two):
    checkpoints = all((one / n).read_bytes() == (two / n).read_bytes() for n in (BEST, LAST))
    rows = [[{**row, "seconds": 0} for row in read_metrics(run)] for run in (one, two)]
    return checkpoints and rows[0] == rows[1]


@pytest.mark.parametrize("name", TRAINED)
def test_the_seed_decides_every_byte(tmp_path, files, name):
    for run, seed in (("one", 0), ("two", 0), ("other", 1)):
        meta_train(config_of(files, system=name, seed=seed, iterations=3), tmp_path / run)
    assert same(tmp_path / "one", tmp_path / "two")
    assert not same(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize(
    ("name", "meta_batch"), [*((name, 1) for name in TRAINED), ("align-classify", 2), ("oracle", 2)]
)
def test_resume_is_bit_identical(tmp_path, files, name, meta_batch):
    config = config_of(files, system=name, meta_batch=meta_batch)
    meta_train(config, tmp_path / "whole")
    with pytest.raises(Interruption):
        meta_train(config, tmp_path / "parts", stop_at(4))
    meta_train(config, tmp_path / "parts")
    assert same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(
    "settings", [{"meta_gradient": "fomaml", "k_shot": 2}, {"start": "random"}]
)
def test_every_system_takes_settings_that_are_for_all(tmp_path, files, name, settings):
    config = config_of(files, system=name, iterations=1, **settings)
    meta_train(config, tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["iteration"] == 1


def test_an_unknown_system():
    with pytest.raises(XmgError, match=r"no system 'chroma'.*'croma'.*fix: one of"):
        system_of("chroma")
    assert all(system_of(name) is system for name, system in SYSTEMS.items())


def test_titles_differ():
    assert len({system.title for system in SYSTEMS.values()}) == len(SYSTEMS) == 27
