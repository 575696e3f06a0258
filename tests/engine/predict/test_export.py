"""An exported model answers as its run does, alone in its folder; its card says what it is."""

import errno
import json
import os
import shutil

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from markdown_it import MarkdownIt

from xmg.cache import FeatureFile, XmgError
from xmg.engine.meta_test import evaluate_run
from xmg.engine.predict.card import model_card
from xmg.engine.predict.classifier import CrossModalClassifier
from xmg.engine.predict.export import CARD, export_run
from xmg.engine.predict.model import MODEL, VALIDATION, WEIGHTS, load_model


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export_run(run, folder, licences={"none": "MIT"})


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "copy")


def test_it_answers_as_the_run_does(model, exported, task, tmp_path):
    x, names, query, _ = task
    moved = shutil.copytree(exported, tmp_path / "elsewhere")
    expected = CrossModalClassifier(model).fit(x, names)
    found = CrossModalClassifier(load_model(moved)).fit(x, names)
    npt.assert_array_equal(found.predict_proba(query), expected.predict_proba(query))
    assert found.tuning_.setting == expected.tuning_.setting
    npt.assert_array_equal(found.tuning_.misfits, expected.tuning_.misfits)


def test_what_lies_in_the_folder(run, exported, model):
    assert sorted(p.name for p in exported.iterdir()) == sorted([CARD, MODEL, VALIDATION, WEIGHTS])
    found = json.loads((exported / MODEL).read_text())
    assert found["config"]["source"] == "source.h5"
    assert str(run.parent) not in (exported / MODEL).read_text() + (exported / CARD).read_text()
    held = FeatureFile(exported / VALIDATION)
    assert set(held.classes) == set(found["classes"]["validation"])
    assert not set(held.classes) & set(found["classes"]["test"])
    assert len(held) == 16 * len(held.classes)
    results = {(r.system, r.shots): r.mean for r in evaluate_run(run)}
    assert {(r["system"], r["shots"]): r["mean"] for r in found["accuracy"]} == results


@pytest.mark.parametrize(
    ("number", "fix"), [(errno.ENOSPC, "put that right"), (errno.EACCES, "name")]
)
def test_a_disk_that_refuses_leaves_nothing(run, tmp_path, monkeypatch, number, fix):
    def refused(path, text):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("xmg.engine.predict.export.replace_text", refused)
    with pytest.raises(XmgError, match=f"cannot write .*m: {os.strerror(number)}. fix: {fix}"):
        export_run(run, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_large_classes_are_thinned_evenly(tmp_path, monkeypatch):
    from xmg.engine.data.pool import pool_of
    from xmg.engine.predict import export

    monkeypatch.setattr(export, "_KEPT", 4)
    labels = synthetic.names(2, 9)
    file = synthetic.write(tmp_path / "a.h5", np.arange(36.0).reshape(18, 2).astype("f4"), labels)
    export._write_validation(file, pool_of(file, file.classes), tmp_path / "b.h5")
    npt.assert_array_equal(FeatureFile(tmp_path / "b.h5").features[:4, 0], [0, 4, 8, 12])


def test_the_card_holds_the_figures(run, exported):
    card = (exported / CARD).read_text()
    for result in evaluate_run(run):
        assert f"{100 * result.mean:.1f} ± {100 * result.std:.1f}" in card
    assert "| encoder none | MIT |" in card
    assert "to be stated by who publishes them" in card
    assert card.startswith("---\nlibrary_name: xmg\nlicense: other\n")


def test_names_cannot_steer_the_card(exported):
    found = json.loads((exported / MODEL).read_text())
    plain = MarkdownIt("commonmark").enable("table").render(model_card("x", found, {}))
    evil = "x`|<script>alert(1)</script>\n# heading"
    found["data"]["target"]["dataset"] = evil
    found["data"]["source"]["encoder"] = evil
    found["classes"]["test"] = [evil]
    page = MarkdownIt("commonmark").enable("table").render(model_card(evil, found, {evil: evil}))
    assert "<script" not in page
    for tag in ("<h1", "<h2", "<tr", "<td", "<th", "<pre"):
        assert page.count(tag) == plain.count(tag) > 0
    assert page.count("<h1") == 1


def test_nothing_is_replaced_unasked(run, copy, tmp_path):
    with pytest.raises(XmgError, match=r"holds an exported model\. fix: --overwrite"):
        export_run(run, copy)
    export_run(run, copy, overwrite=True)
    load_model(copy)
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(XmgError, match="no exported model"):
        export_run(run, other, overwrite=True)
    assert (other / "mine.txt").read_text() == "mine"


def test_a_failure_leaves_the_former_model(run, copy, monkeypatch):
    from xmg.engine.predict import export

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "model_card", fail)
    before = (copy / WEIGHTS).read_bytes()
    with pytest.raises(XmgError, match=r"cannot write .*: No space"):
        export_run(run, copy, overwrite=True)
    assert (copy / WEIGHTS).read_bytes() == before
    load_model(copy)


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, VALIDATION])
def test_damage_is_told(copy, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:100])
    with pytest.raises(XmgError):
        load_model(copy)


def test_held_out_rows_that_are_lost_or_of_another_model_are_exported_again(copy):
    """The file's own fix, xmg extract, would make something else."""
    x, labels = np.ones((4, 6), "f4"), ["d0", "d0", "d1", "d1"]
    for damage in (
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.unlink(),
        lambda path: synthetic.write(path, x, labels),
    ):
        damage(copy / VALIDATION)
        with pytest.raises(XmgError, match=rf"{VALIDATION} is lost, .*fix: export it again$") as e:
            load_model(copy)
        assert "xmg extract" not in str(e.value) and str(e.value).count("fix:") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"config": None}, {"config": []}, {"classes": []}, {"classes": {"validation": None}},
        {"classes": {"validation": []}}, {"classes": {"validation": ["c00"]}},
        {"classes": {"validation": [1, 2]}}, {"classes": {"validation": ["nobody", "none"]}},
        {"format": "1"}, {"format": True}, {"format": None},
    ],
)  # fmt: skip
def test_edited_descriptions_are_told(copy, change):
    found = json.loads((copy / MODEL).read_text())
    (copy / MODEL).write_text(json.dumps({**found, **change}))
    with pytest.raises(XmgError):
        load_model(copy)


def test_what_does_not_fit_together_is_told(copy):
    found = json.loads((copy / MODEL).read_text())
    names = found["classes"]["validation"]
    for config, classes in (
        ({"head": "mlp"}, names), ({"head": "lstm"}, names), ({}, [*names, names[0]]),
    ):  # fmt: skip
        edited = {"config": {**found["config"], **config}, "classes": {"validation": classes}}
        (copy / MODEL).write_text(json.dumps({**found, **edited}))
        with pytest.raises(XmgError):
            load_model(copy)
    (copy / MODEL).write_text("[]")
    with pytest.raises(XmgError, match="damaged"):
        load_model(copy)


def test_folders_beside_stay(run, tmp_path):
    for name in ("model.partial", "model.former"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    export_run(run, tmp_path / "model")
    export_run(run, tmp_path / "model", overwrite=True)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["model", "model.former", "model.partial"]
    assert (tmp_path / "model" / WEIGHTS).stat().st_mode & 0o777 == 0o644


def test_other_formats_and_mixtures_are_refused(copy, tmp_path):
    found = json.loads((copy / MODEL).read_text())
    (copy / MODEL).write_text(json.dumps({**found, "format": 2}))
    with pytest.raises(XmgError, match="format 2, and this xmg reads 1"):
        load_model(copy)
    (copy / MODEL).write_text(json.dumps(found))
    (copy / VALIDATION).unlink()
    labels = [name for name in found["classes"]["validation"] for _ in range(8)]
    x = np.ones((len(labels), 7), "f4")
    synthetic.write(copy / VALIDATION, x, labels)
    with pytest.raises(XmgError, match="not of one model"):
        load_model(copy)
