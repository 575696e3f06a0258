"""Rules of the protocol, by trying to break each."""

from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch

from xmg.cache import FeatureFile, Sealed, XmgError, decode
from xmg.cache.pairs import PairedSets
from xmg.engine import evaluate as evaluation
from xmg.engine import train
from xmg.engine.data.pool import Pool, pool_of
from xmg.engine.data.problem import open_problem
from xmg.engine.data.tasks import Tasks, validation_tasks
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.data.views import MetaTest, Nothing, TargetOnly
from xmg.engine.evaluate import evaluate
from xmg.engine.run import LAST, load_state
from xmg.engine.systems import CLOSED_FORM, SYSTEMS, TRAINED
from xmg.engine.train import meta_train

READ_LABELS = {"oracle", "target-classifier", "shared-target-labels"}
UNIMODAL = {
    "reconstruct", "weak-labels", "set-classifier", "oracle", "target-classifier", "pre-training",
    "class-mean", "class-mean-whitened", "class-mean-within", "simpleshot", "logistic-probe",
    "ridge-probe",
}  # fmt: skip
CONCEPTS = """
validation = ["c03", "c04", "c05"]
test = ["c06", "c07", "c08"]
[concept.one]
source = ["c00", "c01"]
target = ["c00"]
[concept.two]
source = ["c02", "c10"]
target = ["c01", "c02"]
[concept.three]
source = ["c11"]
target = ["c09", "c10", "c11"]
"""
EVERY = pytest.mark.parametrize("name", SYSTEMS)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return synthetic.write_pair(folder, n_classes=12, per_class=12, latent=4, dim=6)


def config_of(files, **settings):
    small = {"iterations": 3, "validate_every": 3, "inner_steps": 2, "width": 8, "n_validation": 4}
    return synthetic.config_of(*files, **{**small, **settings})


@pytest.fixture(scope="module", params=["label", "id", "concepts"])
def case(request, files, tmp_path_factory):
    """Config and problem of each kind of sets."""
    if request.param == "concepts":
        path = tmp_path_factory.mktemp("concepts") / "concepts.toml"
        path.write_text(CONCEPTS)
        config = config_of(files, concepts=path)
    else:
        config = config_of(files, sets=request.param)
    return config, open_problem(config)


def reachable(x, seen=None):
    """Everything that an object leads to: fields, items, closures, attributes."""
    seen = {} if seen is None else seen
    if id(x) in seen or isinstance(x, str | bytes | int | float | np.ndarray | torch.Tensor | type):
        return [] if id(x) in seen else [x]
    seen[id(x)] = x  # kept alive, so that numbers stay its own
    parts = []
    if is_dataclass(x):
        parts = [getattr(x, field.name) for field in fields(x)]
    elif isinstance(x, dict):
        parts = [*x.keys(), *x.values()]
    elif isinstance(x, tuple | list | set):
        parts = list(x)
    elif callable(x) and getattr(x, "__closure__", None):
        parts = [cell.cell_contents for cell in x.__closure__]
    elif hasattr(x, "__dict__"):
        parts = list(vars(x).values())
    return [x, *(y for part in parts for y in reachable(part, seen))]


def kinds(x, kind):
    return [y for y in reachable(x) if isinstance(y, kind)]


def test_the_walk_finds_what_is_hidden(case):
    """Of the tests below: they would find a file or a test part in a closure or a list."""
    _, problem = case
    (found,) = kinds([{"a": lambda: problem.test}], MetaTest)
    assert found is problem.test
    assert kinds(problem.train, FeatureFile)


@EVERY
def test_every_file_of_a_view_is_sealed(case, name):
    config, problem = case
    view = SYSTEMS[name].view(problem, config)
    for file in kinds(view, FeatureFile):
        for question in (
            lambda f: f.labels, lambda f: f.classes, lambda f: f.ids, lambda f: f.class_rows,
            lambda f: f.class_names(), lambda f: f.array("class_index/offsets"),
            lambda f: pool_of(f, problem.test.target.classes),
        ):  # fmt: skip
            with pytest.raises(XmgError):
                question(file)


@EVERY
def test_a_unimodal_view_does_not_lead_to_the_source(case, name):
    config, problem = case
    view = SYSTEMS[name].view(problem, config)
    paths = {file.path for file in kinds(view, FeatureFile)} | set(kinds(view, Path))
    assert (config.source not in paths) == (name in UNIMODAL)
    assert isinstance(view, TargetOnly | Nothing) == (name in UNIMODAL)
    if isinstance(view, Nothing):
        assert not paths


@EVERY
def test_no_row_of_a_held_out_class_is_in_a_view(case, name):
    config, problem = case
    target, source = FeatureFile(config.target), FeatureFile(config.source)
    test, validation = problem.test.target, problem.validation.target
    held = {config.target: np.concatenate([test.rows, validation.rows])}
    names = {*test.classes, *validation.classes}
    numbers = [c for c, one in enumerate(source.classes) if one in names]
    held[config.source] = np.flatnonzero(np.isin(source.labels, numbers))
    assert {target.classes[c] for c in target.labels[held[config.target]]} == names
    view = SYSTEMS[name].view(problem, config)
    for pool in kinds(view, Pool):
        if name == "cross-modal-probe" and pool is view.source:
            continue  # declared to read source samples of the new classes
        assert not np.isin(pool.rows, held[pool.file.path]).any()
    for sets in kinds(view, PairedSets):
        assert not np.isin(sets.source_rows, held[config.source]).any()
        assert not np.isin(sets.target_rows, held[config.target]).any()
    assert not kinds(view, MetaTest)


def test_meta_validation_leads_to_no_row_of_meta_test(case):
    _, problem = case
    validation, test = problem.validation.target, problem.test.target
    assert not np.isin(validation.rows, test.rows).any()
    assert isinstance(validation.file, Sealed) and isinstance(test.file, Sealed)
    with pytest.raises(XmgError):
        pool_of(validation.file, test.classes)
    assert not set(validation.classes) & set(test.classes)


def test_the_index_of_meta_validation_holds_no_row_of_meta_test(case):
    _, problem = case
    assert not np.isin(problem.validation.target.index, problem.test.target.rows).any()


def test_selection_is_shown_no_test_part(case, monkeypatch):
    config, problem = case
    systems = {}
    for name in ("class-mean", "simpleshot", "cca", "ridge-probe"):
        systems[name] = CLOSED_FORM[name].candidates(
            CLOSED_FORM[name].view(problem, config), config
        )
    seen = []

    def spy(*arguments):
        seen.append(arguments)
        return original(*arguments)

    original = evaluation.select
    monkeypatch.setattr(evaluation, "select", spy)
    evaluate(systems, problem.validation, problem.test, config, (1, 3))
    assert len(seen) == 8
    for arguments in seen:
        assert not kinds(arguments, MetaTest)
        (tasks,) = kinds(arguments, Tasks)
        assert not np.isin(tasks.rows, problem.test.target.rows).any()


@pytest.mark.parametrize("name", TRAINED)
def test_training_is_shown_no_test_part(files, tmp_path, monkeypatch, name):
    config = config_of(files, system=name, iterations=1, k_shot=2)
    problem = open_problem(config)
    seen = []

    def spy(function):
        return lambda *arguments: (seen.append(arguments), function(*arguments))[1]

    for function in ("_begin", "_loop", "_record"):
        monkeypatch.setattr(train, function, spy(getattr(train, function)))
    meta_train(config, tmp_path / "run")
    assert len(seen) >= 3
    for arguments in seen:
        assert not kinds(arguments, MetaTest)
        for tasks in kinds(arguments, Tasks):
            assert not np.isin(tasks.rows, problem.test.target.rows).any()


def test_recordings_never_straddle_support_and_query(tmp_path, files):
    """Two or three rows of each recording, and recordings of the same name in other classes."""
    rng = np.random.default_rng(0)
    names = [f"r{i // 2}" if i % 7 else "" for i in range(24)] * 6
    source, target = (
        synthetic.write(tmp_path / f"{i}.h5", rng.normal(size=(144, 3)), synthetic.names(6, 24),
                        columns={"recording": names})
        for i in range(2)
    )  # fmt: skip
    config = config_of((source, target), n_way=2, n_repeats=20, n_validation=40)
    problem = open_problem(config)
    recordings = np.array([n or f"alone {i}" for i, n in enumerate(names)])
    shared = 0
    for found in (
        frozen_tasks(problem.test, config, config.shots),
        validation_tasks(problem.validation, config, config.shots),
    ):
        for tasks in found.values():
            for support, query in zip(tasks.support, tasks.query, strict=True):
                for s, q in zip(support, query, strict=True):  # of one class
                    assert not set(recordings[s]) & set(recordings[q])
                    shared += len(set(recordings[q])) < len(q)
    assert shared  # queries of one recording do occur: there was something to keep apart


SETTINGS = [
    *({"system": name} for name in TRAINED),
    {"label_noise": 0.3},
    {"n_train_sets": 3},
    {"target_share": 0.5},
    {"label_share": 0.5},
    {"start": "identity"},
    {"start": "random"},
    {"sets": "id"},
    {"sets": "clusters"},
    {"width": 3, "head": "mlp"},
    {"k_shot": 2, "iterations": 7},
]


def digests(files, **settings):
    config = config_of(files, **settings)
    problem = open_problem(config)
    found = [frozen_tasks(problem.test, config, config.shots)]
    found.append(validation_tasks(problem.validation, config, config.shots))
    return [[tasks.digest() for tasks in part.values()] for part in found]


def test_all_systems_meet_the_same_episodes(files):
    plain = digests(files)
    for settings in SETTINGS:
        assert digests(files, **settings) == plain, settings
    assert digests(files, seed=1) != plain


# What meta-training depends on ------------------------------------------------------------------


def rewritten(folder, files, edit):
    """Both files again, after edit(x_s, labels_s, x_t, labels_t) has changed the arrays."""
    parts = [[file.features.copy(), np.array(file.class_names())] for file in files]
    edit(*parts[0], *parts[1])
    folder.mkdir()
    return tuple(
        synthetic.write(folder / file.path.name, x, labels.tolist(), decode(file.ids))
        for file, (x, labels) in zip(files, parts, strict=True)
    )


@pytest.fixture(scope="module")
def apart(tmp_path_factory, files):
    """Pairs whose source has class names of its own, so that target labels alone may change."""
    folder = tmp_path_factory.mktemp("apart") / "files"

    def rename(_x_s, labels_s, _x_t, _labels_t):
        labels_s[:] = [f"s{name[1:]}" for name in labels_s]

    return rewritten(folder, files, rename)


def trained(files, run, **settings):
    config = config_of(files, k_shot=3, **settings)
    meta_train(config, run)
    return (run / LAST).read_bytes()


def held_rows(files, **settings):
    problem = open_problem(config_of(files, **settings))
    return problem.validation.target.rows, problem.test.target.rows


def permuted(folder, files):
    """Target labels of training classes in another order, and nothing else."""
    held = np.concatenate(held_rows(files))
    free = np.setdiff1d(np.arange(len(files[1])), held)

    def permute(_x_s, _labels_s, _x_t, labels_t):
        labels_t[free] = labels_t[np.random.default_rng(1).permutation(free)]

    return rewritten(folder, files, permute)


@pytest.mark.parametrize(
    ("name", "sets"),
    [*((name, "label") for name in TRAINED), *((n, "id") for n in ("croma", "weak-labels"))],
)
def test_target_labels_reach_only_those_who_declare_to_read_them(tmp_path, apart, name, sets):
    other = permuted(tmp_path / "other", apart)
    one = trained(apart, tmp_path / "one", system=name, sets=sets)
    two = trained(other, tmp_path / "two", system=name, sets=sets)
    assert (one == two) == (name not in READ_LABELS)


@pytest.mark.parametrize("name", sorted(set(CLOSED_FORM) - {"cross-modal-probe"}))
def test_target_labels_reach_no_closed_form(tmp_path, apart, name):
    found = []
    for files in (apart, permuted(tmp_path / "other", apart)):
        config = config_of(files)
        found.append(validation_scores(name, config))
    npt.assert_array_equal(*found)


def validation_scores(name, config):
    problem, system = open_problem(config), CLOSED_FORM[name]
    tasks = validation_tasks(problem.validation, config, [3])[3]
    candidates = system.candidates(system.view(problem, config), config)[:2]
    return np.concatenate(
        [one.scores(tasks, one.settings()[:1], config.tau).numpy() for one in candidates]
    )


@pytest.mark.parametrize("name", ["croma", "weak-labels", *sorted(READ_LABELS)])
def test_label_noise_reaches_only_those_who_read_target_labels(tmp_path, files, name):
    found = []
    for noise in (0.0, 0.5):
        trained(files, tmp_path / f"{noise}", system=name, label_noise=noise, start="identity")
        found.append(load_state(tmp_path / f"{noise}" / LAST).theta)
    same = all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert same == (name not in READ_LABELS)


@pytest.mark.parametrize("name", sorted(UNIMODAL & set(TRAINED)))
def test_the_source_does_not_reach_a_unimodal_system(tmp_path, files, name):
    def replace(x_s, *_):
        x_s[:] = np.random.default_rng(2).normal(size=x_s.shape)

    other = rewritten(tmp_path / "other", files, replace)
    one, two = (
        trained(each, tmp_path / run, system=name) for each, run in ((files, "one"), (other, "two"))
    )
    assert one == two


@pytest.mark.parametrize("name", TRAINED)
def test_nothing_of_a_test_class_reaches_training_or_selection(tmp_path, files, name):
    """Checkpoints are the same bytes after rows of test classes have become noise."""
    _, test = held_rows(files)

    def spoil(x_s, _labels_s, x_t, _labels_t):
        rng = np.random.default_rng(3)
        x_s[test], x_t[test] = rng.normal(size=x_s[test].shape), rng.normal(size=x_t[test].shape)

    other = rewritten(tmp_path / "other", files, spoil)
    one, two = (
        trained(each, tmp_path / run, system=name) for each, run in ((files, "one"), (other, "two"))
    )
    assert one == two


def test_what_training_classes_hold_does_reach_training(tmp_path, files):
    """The tests around would notice."""
    held = np.concatenate(held_rows(files))

    def spoil(x_s, _labels_s, x_t, _labels_t):
        free = np.setdiff1d(np.arange(len(x_t)), held)
        x_t[free] += np.random.default_rng(3).normal(size=x_t[free].shape)

    other = rewritten(tmp_path / "other", files, spoil)
    for name in ("croma", "oracle"):
        one = trained(files, tmp_path / f"{name} one", system=name)
        assert one != trained(other, tmp_path / f"{name} two", system=name)
    for name in ("class-mean-whitened", "cca", "simpleshot"):
        one, two = (validation_scores(name, config_of(each)) for each in (files, other))
        assert not np.array_equal(one, two)


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_nothing_of_a_test_class_reaches_a_closed_form(tmp_path, files, name):
    _, test = held_rows(files)

    def spoil(x_s, _labels_s, x_t, _labels_t):
        x_s[test], x_t[test] = 7.0, -7.0

    other = rewritten(tmp_path / "other", files, spoil)
    npt.assert_array_equal(*(validation_scores(name, config_of(each)) for each in (files, other)))


def test_validation_rows_do_not_move_theta(tmp_path, files):
    """They choose the checkpoint, and where phi starts: nothing else."""
    validation, _ = held_rows(files)

    def spoil(x_s, _labels_s, x_t, _labels_t):
        x_s[validation], x_t[validation] = 5.0, -5.0

    other = rewritten(tmp_path / "other", files, spoil)
    for each, run in ((files, "one"), (other, "two")):
        trained(each, tmp_path / run, start="identity")
    one, two = (load_state(tmp_path / run / LAST).theta for run in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
