"""xmg predict and xmg export, from raw files to answers."""

import csv
import json
import random
import shutil
from dataclasses import replace

import pytest

from xmg.cache import FeatureFile, from_arrays

N_WAY = 3
CLASSES = [f"lang{c:02d}" for c in range(15)]


def text_of(rng, c, side):
    """A few words of a language of its own; each side spells it otherwise."""
    letters = random.Random(f"{c} {side}").sample("abcdefghijklmnopqrstuvwxyz", 8)
    return " ".join("".join(rng.choices(letters, k=5)) for _ in range(6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two manifests in pairs, and folders of texts in three languages that no run has seen."""
    from typer.testing import CliRunner

    from xmg.cli.main import app

    path = tmp_path_factory.mktemp("predict")
    rng = random.Random(0)
    for side in ("source", "target"):
        with (path / f"{side}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "text", "label"])
            for name in CLASSES:
                writer.writerows([f"{name}-{i}", text_of(rng, name, side), name] for i in range(10))
    run = CliRunner().invoke
    for side in ("source", "target"):
        words = [
            "extract",
            str(path / f"{side}.csv"),
            "-e",
            "char-ngrams",
            "-o",
            str(path / f"{side}.h5"),
        ]
        assert run(app, words).exit_code == 0
    files = [str(path / "source.h5"), str(path / "target.h5")]
    words = [
        "meta-train", *files, "--run", str(path / "run"), "--n-way", "3", "--n-query", "3",
        "--shots", "1,3", "--iterations", "3",
    ]  # fmt: skip
    (path / "c.toml").write_text("n_sets = 4\nn_validation = 8\nn_tasks = 3\nn_repeats = 2\n")
    assert run(app, [*words, "--config", str(path / "c.toml")]).exit_code == 0
    for i, name in enumerate(["x", "y", "z"]):
        (path / "few" / name).mkdir(parents=True)
        (path / "many").mkdir(exist_ok=True)
        for j in range(9):
            where = path / "few" / name if j < 3 else path / "many"
            (where / f"{name}{j}.txt").write_text(text_of(rng, f"new{i}", "target"))
    (path / "many" / "empty.txt").write_text("")
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_in_folders_get_names(xmg, folder, tmp_path):
    out = tmp_path / "a.csv"
    words = ("predict", folder / "run", folder / "few", folder / "many", "-o", out)
    status, said, _ = xmg(*words, "--json")
    lines = read(out)
    assert status == 0
    found = json.loads(said[said.index("{") :])
    assert [line["file"] for line in lines] == [
        *(f"{name}{j}.txt" for name in "xyz" for j in range(3, 9)), "empty.txt",
    ]  # fmt: skip
    assert sum(line["label"] == line["file"][0] for line in lines[:-1]) >= 15
    assert lines[-1]["answer"] == "unreadable" and "empty" in lines[-1]["possible"]
    assert found["unreadable"] == 1 and sum(found["answers"].values()) == 18
    assert found["left_out"]["n"] == 9 and found["truth"] is None
    assert found["held_out_classes"]["n_way"] == 3 and found["held_out_classes"]["k_shot"] == 3

    status, said, err = xmg(*words)
    assert status == 1 and "exists. fix: --overwrite" in err
    out.unlink()
    features = out.with_name("a.csv.features") / "inputs-many.h5"
    before = features.stat().st_mtime_ns
    (folder / "many" / "x9.txt").write_text(text_of(random.Random(1), "new0", "target"))
    status, said, err = xmg(*words)
    (folder / "many" / "x9.txt").unlink()
    assert status == 0 and features.stat().st_mtime_ns > before
    assert len(FeatureFile(features)) == 19
    assert "each label left out in turn: " in said and "of 9 right" in said
    assert "on 3 held-out classes of the run, 3-way with 3 labels each: " in said


def test_few_mistakes_are_pointed_out(xmg, folder, tmp_path, monkeypatch):
    from xmg.engine.predict import classifier

    words = ("predict", folder / "run", folder / "few", folder / "many", "-o", tmp_path / "a.csv")
    known = classifier.tune
    monkeypatch.setattr(classifier, "tune", lambda *a: replace(known(*a), accuracy=0.98))
    assert "at 90% every label is possible" in xmg(*words)[2]  # 3 classes vouch for 88%
    assert "few mistakes" not in xmg(*words, "--overwrite", "--coverage", "0.6")[2]
    monkeypatch.setattr(classifier, "tune", lambda *a: replace(known(*a), accuracy=1.0))
    for more in ((), ("--coverage", "0.6")):
        status, _, err = xmg(*words, "--overwrite", *more)
        assert status == 0 and "rest on few mistakes: 3 classes, even without one, vouch" in err
        assert ("at 90% every label is possible" in err) == (not more)


def test_feature_files_and_exported_models(xmg, folder, tmp_path):
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    assert xmg("predict", folder / "run", folder / "few", folder / "many", "-o", first)[0] == 0
    features = tmp_path / "1.csv.features"
    model = tmp_path / "model"
    status, said, err = xmg("export", folder / "run", "-o", model)
    assert status == 0 and "README.md, model.json, model.safetensors, validation.h5" in said
    assert f"next: xmg predict {model}" in err
    parts = (features / "labelled-few.h5", features / "inputs-many.h5")
    assert xmg("predict", model, *parts, "-o", second)[0] == 0
    assert first.read_text() == second.read_text()


def test_overwriting_keeps_features(xmg, folder, tmp_path):
    out, many = tmp_path / "a.csv", tmp_path / "many"
    shutil.copytree(folder / "many", many, ignore=shutil.ignore_patterns("empty.txt"))
    words = ("predict", folder / "run", folder / "few", many, "-o", out)
    features = tmp_path / "a.csv.features" / "inputs-many.h5"
    assert xmg(*words)[0] == 0
    before = features.stat().st_mtime_ns
    assert xmg(*words, "--overwrite")[0] == 0
    assert features.stat().st_mtime_ns == before
    (many / "x3.txt").unlink()
    out.unlink()
    status, _, err = xmg(*words)
    assert status == 1 and "no longer listed" in err
    assert xmg(*words, "--overwrite")[0] == 0
    assert len(FeatureFile(features)) == 17


def test_a_wrong_call_is_not_in_the_way(xmg, folder, tmp_path):
    out = tmp_path / "a.csv"
    assert xmg("predict", folder / "run", folder / "many", folder / "few", "-o", out)[0] == 1
    assert xmg("predict", folder / "run", folder / "few", folder / "many", "-o", out)[0] == 0


def test_unfinished_runs_are_pointed_out(xmg, folder, tmp_path):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**settings, "iterations": 50}))
    words = (run, folder / "few", folder / "many", "-o", tmp_path / "a.csv")
    status, _, err = xmg("predict", *words)
    assert status == 0 and "is not finished: 47 meta-iterations are missing" in err
    assert "is not finished" in xmg("evaluate", run)[2]
    assert "is not finished" not in xmg("evaluate", folder / "run")[2]


def test_features_are_never_the_output(xmg, folder, tmp_path):
    features = folder / "target.h5"
    status, _, err = xmg(
        "predict", folder / "run", features, features, "-o", features, "--overwrite"
    )
    assert status == 1 and "does not end in .csv" in err
    manifest, answers = folder / "target.csv", tmp_path / "a.csv"
    text = manifest.read_text()
    for inputs, reason in ((manifest, "is an input"), (features, "is not what this command")):
        words = ("predict", folder / "run", features, inputs, "-o", manifest, "--overwrite")
        status, _, err = xmg(*words)
        assert status == 1 and reason in err and manifest.read_text() == text
    assert xmg("predict", folder / "run", features, features, "-o", answers)[0] == 0
    words = ("predict", folder / "run", features, features, "-o", answers)
    assert xmg(*words)[0] == 1 and xmg(*words, "--overwrite")[0] == 0
    assert len(FeatureFile(features)) == 150


def test_folders_that_differ_behind_a_dot_are_not_in_each_others_way(xmg, folder, tmp_path):
    for day in ("day.1", "day.2"):
        shutil.copytree(folder / "many", tmp_path / day)
    (tmp_path / "day.2" / "x3.txt").unlink()
    words = ("predict", folder / "run", folder / "few")
    out = tmp_path / "a.csv"
    assert xmg(*words, tmp_path / "day.1", "-o", out)[0] == 0
    out.unlink()
    assert xmg(*words, tmp_path / "day.2", "-o", out)[0] == 0
    names = {path.name for path in (tmp_path / "a.csv.features").glob("inputs-*")}
    assert names == {"inputs-day.1.h5", "inputs-day.2.h5"}


def test_inputs_are_asked_for_no_labels(xmg, folder, tmp_path):
    """Nor is an option named that xmg extract has, and not this command."""
    table = tmp_path / "new.csv"
    table.write_text("text,note\nNordland,first\nSur,other\n")
    status, _, err = xmg("predict", folder / "run", folder / "few", table, "-o", tmp_path / "a.csv")
    assert status == 0 and "--label-column" not in err


def test_onnx(xmg, folder, tmp_path):
    pytest.importorskip("onnxscript")
    out = tmp_path / "three.onnx"
    words = ("export", folder / "run", "--onnx", "-o", out)
    status, said, _ = xmg(*words, "--labelled", folder / "few")
    assert status == 0 and "three.onnx: x, y, z; onnxruntime agrees to " in said
    assert out.stat().st_size > 1000
    assert xmg(*words)[0] == 2
    status, _, err = xmg(
        "export", folder / "run", "--onnx", "-o", tmp_path / "a", "--labelled", "x"
    )
    assert status == 1 and "does not end in .onnx" in err
    assert xmg("export", folder / "run", "-o", tmp_path / "m", "--labelled", folder / "few")[0] == 2
    words = ("export", folder / "run", "--onnx", "-o", tmp_path / "a.onnx", "--labelled")
    status, _, err = xmg(*words, folder / "nowhere")
    assert status == 1 and "there is nothing at" in err and not [*tmp_path.glob("a.onnx*")]


def test_features_of_another_version_are_pointed_out(xmg, folder, tmp_path):
    """By predict, and by export of what answers them."""
    pytest.importorskip("onnxscript")
    file = FeatureFile(folder / "target.h5")
    older = replace(file.spec, versions={**file.spec.versions, "numpy": "0.1"})
    from_arrays(
        tmp_path / "older.h5", file.features[:30], encoder=older, labels=file.class_names()[:30]
    )
    few = tmp_path / "older.h5"
    for words in (
        ("predict", folder / "run", few, few, "-o", tmp_path / "a.csv"),
        ("export", folder / "run", "--onnx", "--labelled", few, "-o", tmp_path / "a.onnx"),
    ):
        status, _, err = xmg(*words)
        assert status == 0 and f"{few}, beside the run's features: " in err and "0.1" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere", "few", "many"), "neither a run folder"),
        (("run", "nowhere", "many"), "there is nothing at"),
        (("run", "few", "nowhere"), "there is nothing at"),
        (("run", "many", "few"), "answers need two"),
        (("run", "few", "source.h5", "--coverage", "2"), "no share between 0 and 1"),
        (("run", "few", "many", "--encoder", "char-ngram"), "did you mean char-ngrams"),
    ],
)
def test_what_is_refused(xmg, folder, tmp_path, words, message):
    paths = [folder / word for word in words[:3]]
    status, _, err = xmg("predict", *paths, *words[3:], "-o", tmp_path / "a.csv")
    assert status == 1 and message in err
    assert not (tmp_path / "a.csv").exists()
    folders = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert all(any(path.iterdir()) for path in folders)  # none is left empty


def test_more_classes_than_were_held_out_are_pointed_out(xmg, folder, tmp_path):
    out = tmp_path / "a.csv"
    status, _, err = xmg(
        "predict", folder / "run", folder / "target.h5", folder / "target.h5", "-o", out
    )
    assert status == 0 and "the run held out 3 classes and these are 15" in err
