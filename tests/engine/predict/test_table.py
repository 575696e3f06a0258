"""The table of answers: what each line says, and what is expected of them."""

import csv
import re

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from scipy import stats

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, Reject, XmgError
from xmg.engine.predict.classifier import CrossModalClassifier
from xmg.engine.predict.model import check_features
from xmg.engine.predict.table import COLUMNS, _fresh, fit_on, labelled_rows, write_answers


def file_of(path, x, labels, ids=None, columns=None):
    return synthetic.write(path, x.astype("f4"), list(labels), ids, columns)


@pytest.fixture
def classifier(model):
    return CrossModalClassifier(model)


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_input(tmp_path, classifier, task):
    x, names, query, _ = task
    few = file_of(tmp_path / "few.h5", x, names, [f"few{i}" for i in range(12)])
    fit_on(classifier, few, 0.9)
    inputs = file_of(tmp_path / "in.h5", query, [None] * len(query))
    found = write_answers(classifier, few, inputs, tmp_path / "out.csv", 0.9)
    lines = read(tmp_path / "out.csv")
    p, sets = classifier.predict_proba(query), classifier.predict_sets(query, 0.9)
    assert [line["file"] for line in lines] == [f"id{i:05d}" for i in range(len(query))]
    assert [line["label"] for line in lines] == classifier.predict(query).tolist()
    npt.assert_allclose([float(line["probability"]) for line in lines], p.max(1), atol=5e-5)
    second = np.sort(p, 1)[:, -2]
    npt.assert_allclose([float(line["runner_up_probability"]) for line in lines], second, atol=5e-5)
    for line, held in zip(lines, sets, strict=True):
        possible = line["possible"].split("|")
        assert sorted(possible) == classifier.classes_[held].tolist()
        assert possible[0] == line["label"] != line["runner_up"]
        assert line["answer"] == (line["label"] if len(possible) == 1 else "unsure")
    assert sum(found.answers.values()) == len(query)
    assert found.answers.get("unsure", 0) == (sets.sum(1) > 1).sum() > 0
    assert (found.truth, found.n_unreadable) == (None, 0)


def test_labels_that_inputs_have_are_compared(tmp_path, classifier, task):
    x, names, query, truth = task
    few = file_of(tmp_path / "few.h5", x, names, [f"few{i}" for i in range(12)])
    fit_on(classifier, few, 0.9)
    labels = [None, *truth[1:]]
    inputs = file_of(tmp_path / "in.h5", query, labels)
    found = write_answers(classifier, few, inputs, tmp_path / "out.csv", 0.8).truth
    right = (classifier.predict(query) == truth)[1:]
    assert (found.n, found.right) == (len(right), right.sum())
    assert found.accuracy == pytest.approx(right.mean())
    sets = classifier.predict_sets(query, 0.8)[1:]
    numbers = np.searchsorted(classifier.classes_, truth[1:])
    assert found.covered == pytest.approx(sets[np.arange(len(right)), numbers].mean())
    low, high = stats.binomtest(found.right, found.n).proportion_ci(method="wilson")
    assert (found.low, found.high) == (low, high)
    others = file_of(tmp_path / "others.h5", query, ["something else", *truth[1:]])
    assert write_answers(classifier, few, others, tmp_path / "out.csv", 0.8).truth is None


def test_clips_of_one_recording_are_one_for_the_interval(tmp_path, classifier, task):
    x, names, query, truth = task
    few = file_of(tmp_path / "few.h5", x, names, [f"few{i}" for i in range(12)])
    fit_on(classifier, few, 0.9)
    columns = {"recording": [f"r{i // 4}" for i in range(len(query))]}
    inputs = file_of(tmp_path / "in.h5", query, truth, columns=columns)
    found = write_answers(classifier, few, inputs, tmp_path / "out.csv", 0.8).truth
    n = len(set(columns["recording"]))
    low, high = stats.binomtest(round(found.accuracy * n), n).proportion_ci(method="wilson")
    assert (found.n, found.low, found.high) == (len(query), low, high)


def test_left_out_one_by_one_or_by_recording(tmp_path, classifier, task):
    x, names, _, _ = task
    alone = fit_on(classifier, file_of(tmp_path / "a.h5", x, names), 0.9)
    right = classifier.classes_[classifier.leave_out(x, names).argmax(1)] == names
    assert (alone.n, alone.right) == (12, right.sum())
    recordings = [f"r{i // 2}" for i in range(12)]
    file = file_of(tmp_path / "b.h5", x, names, columns={"recording": recordings})
    pairs = fit_on(classifier, file, 0.9)
    p = classifier.leave_out(x, names, recordings)
    assert pairs.right == (classifier.classes_[p.argmax(1)] == names).sum()
    low, high = stats.binomtest(round(pairs.accuracy * 6), 6).proportion_ci(method="wilson")
    assert (pairs.low, pairs.high) == (low, high)  # six recordings, not twelve clips
    one_each = {"recording": [f"r{i // 4}" for i in range(12)]}  # no class has another recording
    file = file_of(tmp_path / "c.h5", x, names, columns=one_each)
    assert fit_on(classifier, file, 0.9) is None
    assert fit_on(classifier, file_of(tmp_path / "d.h5", x[::4], names[::4]), 0.9) is None


def test_unlabelled_rows_among_the_labelled_are_left_alone(tmp_path, task):
    x, names, _, _ = task
    file = file_of(tmp_path / "a.h5", x, [None, *names[1:]])
    found, labels, groups = labelled_rows(file)
    npt.assert_array_equal(found, x[1:])
    assert labels == names[1:].tolist()
    assert len(set(groups)) == 11


def test_one_class_is_refused(tmp_path, classifier, task):
    x, _, _, _ = task
    for labels in (["a"] * 12, [None] * 12):
        file = file_of(tmp_path / f"{labels[0]}.h5", x, labels)
        with pytest.raises(XmgError, match="answers need two"):
            fit_on(classifier, file, 0.9)


def test_labelled_rows_are_no_test_of_themselves(tmp_path, classifier, task):
    x, names, query, truth = task
    few = file_of(tmp_path / "few.h5", x, names)
    fit_on(classifier, few, 0.9)
    assert write_answers(classifier, few, few, tmp_path / "out.csv", 0.9).truth is None
    assert len(read(tmp_path / "out.csv")) == 12
    both = file_of(tmp_path / "both.h5", np.vstack([x, query]), [*names, *truth])
    assert write_answers(classifier, few, both, tmp_path / "out.csv", 0.9).truth.n == len(query)


def test_contents_tell_inputs_from_labelled_rows(tmp_path, task):
    x, names, _, _ = task
    contents = np.arange(24, dtype=np.uint64).reshape(12, 2)

    def made(name, ids, rows):
        listing = Listing(ids, names[rows].tolist(), contents=contents[rows])
        with FeatureWriter(tmp_path / name, synthetic.SPEC, listing, 48) as writer:
            writer.put(0, x[rows].astype("f2"))
        return FeatureFile(tmp_path / name)

    few = made("few.h5", ["a", "b"], np.array([0, 4]))
    many = made("many.h5", ["a", "z"], np.array([7, 4]))  # another "a", and "b" under a new name
    npt.assert_array_equal(_fresh(few, many), [True, False])
    contents[:] = 0  # nobody looked inside, so ids decide
    few, many = made("f.h5", ["a", "b"], np.arange(2)), made("m.h5", ["a", "z"], np.arange(2))
    npt.assert_array_equal(_fresh(few, many), [False, True])


def test_names_of_answers_and_bars(tmp_path, classifier, task):
    x, names, query, _ = task
    with pytest.raises(XmgError, match=r"is called 'unsure', an answer\. fix: rename it"):
        fit_on(
            classifier, file_of(tmp_path / "a.h5", x, np.where(names == "c03", "unsure", "b")), 0.9
        )
    few = file_of(tmp_path / "few.h5", x, [f"{name}|x" for name in names])
    fit_on(classifier, few, 0.9)
    inputs = file_of(tmp_path / "in.h5", query, [None] * len(query))
    write_answers(classifier, few, inputs, tmp_path / "out.csv", 0.97)
    for line in read(tmp_path / "out.csv"):
        parts = [part.replace("\\|", "|") for part in re.split(r"(?<!\\)\|", line["possible"])]
        assert set(parts) <= set(classifier.classes_) and len(parts) >= 1


def test_unreadable_inputs_are_lines_too(tmp_path, classifier, task):
    x, names, query, _ = task
    listing = Listing(["good", 'bad, "one"\n'], [None, None])
    with FeatureWriter(tmp_path / "in.h5", synthetic.SPEC, listing, 48, dtype="float32") as writer:
        writer.put(0, [query[0].astype("f4"), Reject("cut off")])
    classifier.fit(x, names)
    few = file_of(tmp_path / "few.h5", x, names)
    inputs = FeatureFile(tmp_path / "in.h5")
    found = write_answers(classifier, few, inputs, tmp_path / "out.csv", 0.9)
    lines = read(tmp_path / "out.csv")
    assert found.n_unreadable == 1
    assert list(lines[1].values()) == ['bad, "one"\n', "", "", "", "", "unreadable", "cut off"]
    assert tuple(lines[0]) == COLUMNS


def test_features_of_another_encoder_are_refused(tmp_path, model, target):
    assert check_features(model, target) == ""
    spec = {"dataset": "toy", "encoder": "none", "weights_sha256": "", "versions": {"numpy": "2"}}

    def made(name, dim=48, **changes):
        whole = FeatureSpec(**{**spec, "preprocessing": {"scale": 1}, **changes})
        with FeatureWriter(tmp_path / name, whole, Listing(["a"], [None]), dim) as writer:
            writer.put(0, np.ones((1, dim), "f2"))
        return FeatureFile(tmp_path / name)

    for i, changes in enumerate(
        ({"encoder": "other"}, {"weights_sha256": "ab"}, {"preprocessing": {"scale": 2}})
    ):
        with pytest.raises(XmgError, match="other features than the model was trained on"):
            check_features(model, made(f"{i}.h5", **changes))
    with pytest.raises(XmgError, match="rows of 47, would be of 48"):
        check_features(model, made("dim.h5", 47))
    differs = check_features(model, made("v.h5", versions={"numpy": "3"}))
    assert 'versions.numpy is "3"' in differs
    rounding = made("c.h5", preprocessing={"scale": 1, "compute": "bfloat16"})
    assert "compute" in check_features(model, rounding)
