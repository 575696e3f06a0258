"""Predictions agree with evaluation, and the pairs named beside them are the nearest."""

import numpy as np
import pytest
import synthetic
import torch
from sklearn.linear_model import LogisticRegression

from xmg.cache import FeatureFile, XmgError, decode
from xmg.engine.analysis.predictions import examples, nearest_pairs
from xmg.engine.analysis.retrieval import open_aligned
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.learner import CLASS_MEANS, Setting, logits_of
from xmg.engine.meta_test import evaluate_run
from xmg.engine.model.linear_probe import decision
from xmg.engine.train import meta_train

HELD = """
validation = ["c07", "c08", "c09"]
test = ["c10", "c11", "c12"]
"""
LOGISTIC = Setting("logistic", 10.0, 0)


def tiny_run(folder, files, **settings):
    config = synthetic.config_of(*files, **{"iterations": 3, "n_validation": 2, **settings})
    meta_train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strong")
    files = synthetic.write_pair(folder, n_classes=12, per_class=12)
    return tiny_run(folder, files, n_sets=4)


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak")
    files = synthetic.write_pair(folder, n_classes=13, per_class=12)
    concepts = [f'[concept.n{c}]\nsource = ["c0{c}"]\ntarget = ["c0{c}"]' for c in range(5)]
    concepts.append('[concept.two]\nsource = ["c05"]\ntarget = ["c05", "c06"]')
    (folder / "concepts.toml").write_text(HELD + "\n".join(concepts))
    return tiny_run(folder, files, n_sets=3, concepts=folder / "concepts.toml")


@pytest.fixture(scope="module")
def everyone(strong):
    return examples(strong, 3)


def numbers(file, ids):
    place = {name: i for i, name in enumerate(decode(file.ids))}
    return np.array([place[name] for name in ids])


def embedded(aligned, side, rows):
    return aligned.embed(side, rows).double().numpy()


def assert_agrees(found, run, shots):
    expected = next(r for r in evaluate_run(run, [shots]) if r.system == "CROMA")
    assert len(found) == 2 * 2 * 3 * 4  # repeats, tasks, classes, queries
    assert np.mean([e.right for e in found]) == pytest.approx(expected.mean)
    assert found[0].setting == expected.setting
    for task in range(4):
        right = [e.right for e in found if e.task == task]
        assert np.mean(right) == pytest.approx(expected.tasks[task // 2][task % 2])


def test_all_queries_together_are_the_accuracy(strong, everyone, weak):
    assert_agrees(everyone, strong, 3)
    assert_agrees(examples(weak, 1), weak, 1)


def test_names_and_probabilities(strong, everyone):
    aligned = open_aligned(strong)
    target = aligned.target
    tasks = frozen_tasks(aligned.problem.test, aligned.config, [3])[3]
    for e in everyone:
        assert target.class_names(numbers(target, [e.query])) == [e.true]
        assert numbers(target, [e.query])[0] in tasks.query[e.task]
        assert sum(e.scores.values()) == pytest.approx(1, abs=1e-5)
        assert max(e.scores, key=e.scores.get) == e.predicted
        assert list(e.scores) == list(e.support) == list(tasks.names[e.task])
        for name, ids in e.support.items():
            assert len(ids) == 3 and e.query not in ids
            assert set(target.class_names(numbers(target, ids))) == {name}


def test_fewer_are_the_first_of_more(strong, everyone):
    few, more = (
        [(e.task, e.query, e.true, e.predicted) for e in found]
        for found in (examples(strong, 3, 4), examples(strong, 3, 1000))
    )
    assert few == more[:4]
    assert sorted(more) == sorted((e.task, e.query, e.true, e.predicted) for e in everyone)
    assert len({(task, query) for task, query, *_ in more}) == len(more)


def assert_nearest(pairs, aligned, query):
    """The cosines are those of the rows named, and no others are higher."""
    rows = aligned.problem.train.sets.target_rows
    cosines = embedded(aligned, "target", rows) @ query
    found = numbers(aligned.target, [p.target for p in pairs])
    assert len(set(found)) == len(pairs) and np.isin(found, rows).all()
    own = embedded(aligned, "target", found) @ query
    assert [p.cosine for p in pairs] == pytest.approx(own, abs=1e-5)
    assert own == pytest.approx(-np.sort(-cosines)[: len(pairs)], abs=1e-5)


def test_strong_pairs_are_the_nearest_of_training(strong, everyone):
    aligned = open_aligned(strong)
    for e in everyone[::8]:
        query = embedded(aligned, "target", numbers(aligned.target, [e.query]))[0]
        assert_nearest(e.pairs, aligned, query)
        for pair in e.pairs:
            assert pair.source == pair.target  # strong pairs are of equal id
            row = numbers(aligned.source, [pair.source])
            assert aligned.source.class_names(row) == [pair.name]  # sets = "label"
            other = embedded(aligned, "source", row)[0]
            assert pair.source_cosine == pytest.approx(other @ query, abs=1e-5)


def test_partners_are_found_by_id_whatever_the_order_of_rows(tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    order = np.random.default_rng(0).permutation(len(target))
    labels = [target.class_names()[i] for i in order]
    ids = [decode(target.ids)[i] for i in order]
    mixed = synthetic.write(tmp_path / "mixed.h5", target.features[order], labels, ids)
    aligned = open_aligned(tiny_run(tmp_path, (source, mixed), sets="id"))
    rows = aligned.problem.test.target.rows[:5]
    queries = embedded(aligned, "target", rows)
    for query, pairs in zip(queries, nearest_pairs(aligned, rows, 3), strict=True):
        assert_nearest(pairs, aligned, query)
        assert all(pair.source == pair.target == pair.name for pair in pairs)


def test_weak_pairs_are_the_nearest_of_a_concept(weak):
    aligned = open_aligned(weak)
    sets, rows = aligned.problem.train.sets, aligned.problem.test.target.rows[::9]
    names = set()
    queries = embedded(aligned, "target", rows)
    for query, pairs in zip(queries, nearest_pairs(aligned, rows, 30), strict=True):
        assert_nearest(pairs, aligned, query)
        for pair in pairs:
            c = sets.names.index(pair.name)
            targets = sets.target_rows[slice(*sets.target_offsets[c : c + 2])]
            assert numbers(aligned.target, [pair.target])[0] in targets
            members = sets.source_rows[slice(*sets.source_offsets[c : c + 2])]
            cosines = embedded(aligned, "source", members) @ query
            row = numbers(aligned.source, [pair.source])[0]
            assert cosines[members == row] == pytest.approx(cosines.max(), abs=1e-5)
            assert pair.source_cosine == pytest.approx(cosines.max(), abs=1e-5)
            names.add(pair.name)
    assert len(names) > 2


def test_more_pairs_than_there_are(weak):
    aligned = open_aligned(weak)
    pairs = nearest_pairs(aligned, aligned.problem.test.target.rows[:2], 1000)
    assert [len(found) for found in pairs] == [7 * 12, 7 * 12]


def test_support_by_the_labels_that_the_learner_was_told(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    run = tiny_run(tmp_path, files, n_sets=4, label_noise=0.5)
    target = FeatureFile(files[1].path)
    found = [
        (told, name)
        for e in examples(run, 3)
        for told, ids in e.support.items()
        for name in target.class_names(numbers(target, ids))
    ]
    assert 0.2 < np.mean([told != name for told, name in found]) < 0.8


def test_probabilities_of_class_means():
    scores = torch.tensor([[0.9, 0.1, -0.3]])
    e = np.exp(scores.double().numpy() / 0.2)
    found = logits_of(scores, CLASS_MEANS, 0.2).softmax(-1)
    assert found.numpy() == pytest.approx(e / e.sum(), rel=1e-5)


@pytest.mark.parametrize("present", [[0, 1, 2], [0, 2], [1]])
def test_probabilities_of_logistic_regression_are_its_own(present):
    rng = np.random.default_rng(0)
    labels = np.repeat(present, 5)
    x, query = rng.normal(size=(len(labels), 4)) + labels[:, None], rng.normal(size=(7, 4))
    scores = torch.from_numpy(decision("logistic", 10.0, x, labels, query, 3))
    expected = np.zeros((7, 3))
    expected[:, present] = (
        LogisticRegression(C=10.0, max_iter=1000).fit(x, labels).predict_proba(query)
        if len(present) > 1
        else 1
    )
    found = logits_of(scores, LOGISTIC, 0.2).softmax(-1).numpy()
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_system_without_a_source_head_is_refused(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    run = tiny_run(tmp_path, files, system="oracle")
    with pytest.raises(XmgError, match=r"oracle.*no source head"):
        examples(run, 1, 3)


@pytest.mark.parametrize("wrong", [{"shots": 0}, {"n": 0}, {"n_pairs": 0}])
def test_numbers_below_one_are_refused(strong, wrong):
    (name,) = wrong
    with pytest.raises(XmgError, match=rf"{name} = 0.*fix: name at least 1"):
        examples(strong, **{"shots": 1, "n": 2, **wrong})


def test_more_shots_than_the_classes_have_are_refused(strong):
    with pytest.raises(XmgError, match=r"12 rows, and meta-.* needs 13.*fix: lower --shots to 8"):
        examples(strong, 9, 2)
