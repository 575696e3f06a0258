"""The commands as a person types them: results on stdout, exit codes, one clear sentence."""

import csv
import json
import re
import shlex
import sys
from types import SimpleNamespace

import pytest

from xmg.cache import FeatureFile
from xmg.cli.verdict import verdict
from xmg.engine import meta_test  # noqa: F401  (before a test replaces what it imports)
from xmg.engine.evaluate import Result

SYLLABLES = "ka lo mi tu re sa no pe wi zu ba ge".split()


def write_manifest(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "label"), *rows])
    return path


def texts(n_classes=12, n_samples=8, prefix=""):
    """Class c repeats its own syllable, in changing company."""
    return [
        (f"{c}/{i}", f"{prefix}{SYLLABLES[c]}{SYLLABLES[c]} {SYLLABLES[i % 5]}", f"class{c:02d}")
        for c in range(n_classes)
        for i in range(n_samples)
    ]


@pytest.fixture
def features(tmp_path, xmg):
    """Extract rows of text to NAME.h5."""

    def make(name, rows):
        manifest = write_manifest(tmp_path / f"{name}.csv", rows)
        out = tmp_path / f"{name}.h5"
        assert xmg("extract", manifest, "--encoder", "char-ngrams", "-o", out)[0] == 0
        return out

    return make


def result(system, *tasks):
    return Result(system, 1, tasks, {})


@pytest.mark.parametrize(
    ("trained", "said", "elsewhere"),
    [
        ((0.7, 0.8, 0.9), "1-shot: CROMA is above b: +20.0 points [95%: +20.0 to +20.0]", False),
        ((0.5, 0.6, 0.7), "1-shot: CROMA is not shown to be above b: +0.0 points", True),
        ((0.3, 0.6, 1.0), "1-shot: CROMA is not shown to be above b: +3.3 points", True),
        ((0.3, 0.4, 0.5), "1-shot: CROMA is below b: -20.0 points", True),
    ],
)
def test_the_verdict_claims_what_the_interval_shows(
    monkeypatch, tmp_path, trained, said, elsewhere
):
    """By hand: differences of episodes from the better of two simple rows, and Student's t."""
    state = SimpleNamespace(iteration=20)
    monkeypatch.setattr("xmg.engine.run.load_state", lambda path: state)
    monkeypatch.setattr("xmg.engine.manifest.held_out", lambda run, part: [part])
    rows = [result("a", (0.4, 0.5, 0.6)), result("b", (0.5, 0.6, 0.7)), result("CROMA", trained)]
    lines = list(verdict([tmp_path], [rows]))
    assert lines[0].startswith(said)
    assert any(line.startswith("where it is not above, the pairs") for line in lines) == elsewhere
    assert "one class split" in lines[-1]
    assert (
        "one class split" in [*verdict([tmp_path, tmp_path], [rows, rows])][-1]
    )  # as concepts say
    state.iteration = 0
    assert "gained nothing over its start" in next(verdict([tmp_path], [rows]))


SMALL = ("--n-way", "3", "--n-query", "2", "--shots", "1,5", "--iterations", "4")


def test_the_whole_path(xmg, features, tmp_path):
    source, target = features("source", texts()), features("target", texts(prefix="x"))
    run = tmp_path / "a run"
    status, out, err = xmg("meta-train", source, target, "--run", run, *SMALL)
    assert status == 0 and "of 4, meta-validation accuracy" in out and "xmg evaluate" in err
    names = {p.name for p in run.iterdir()}
    wanted = {"config.json", "episodes.json", "metrics.jsonl", "best.safetensors"}
    assert names == wanted | {"last.safetensors", ".lock"}

    status, out, _ = xmg("evaluate", run, "--json")
    rows = json.loads(out)
    assert status == 0
    assert [(r["system"], r["shots"]) for r in rows] == [
        (system, k)
        for system in ("pre-training", "class mean, raw", "class mean, whitened", "CROMA")
        for k in (1, 5)
    ]
    assert all(len(r["accuracies"]) == 10 and 0 <= r["mean"] <= 1 for r in rows)

    again = tmp_path / "again"
    assert xmg("meta-train", source, target, "--run", again, *SMALL, "--seed", "1")[0] == 0
    status, out, _ = xmg("evaluate", run, again, "--shots", "1")
    assert status == 0 and "1-shot" in out and "5-shot" not in out and "20 repeats" in out
    assert "3-way, chance 33%, 3 test classes, 2 seeds\n" in out
    assert re.search(
        r"^1-shot: CROMA is (not shown to be )?(above|below) \w.* points \[95%: ", out, re.M
    )
    assert "over episodes of 2 class splits" in out
    status, _, err = xmg("evaluate", run, run)
    assert status == 1 and "named twice" in err

    (again / "metrics.jsonl").unlink()
    status, out, err = xmg("meta-train", source, target, "--run", again, *SMALL, "--seed", "1")
    assert status == 0 and "of 4, meta-validation accuracy" in out and "next: " in err
    (run / "last.safetensors").write_bytes(b"cut")
    status, out, err = xmg("evaluate", run)
    assert status == 0 and "CROMA" in out and f"fix: rm '{run}/last" in err


def test_extract_is_a_no_op_then_refuses_then_overwrites(xmg, tmp_path):
    manifest = write_manifest(tmp_path / "t.csv", texts(3))
    words = ("extract", manifest, "-e", "char-ngrams", "-o", tmp_path / "t.h5")
    assert xmg(*words)[0] == 0
    before = (tmp_path / "t.h5").stat().st_mtime_ns
    assert xmg(*words)[0] == 0
    assert (tmp_path / "t.h5").stat().st_mtime_ns == before
    write_manifest(manifest, texts(4))
    status, _, err = xmg(*words)
    assert status == 1 and "--overwrite" in err
    assert len(FeatureFile(tmp_path / "t.h5")) == 24
    assert xmg(*words, "--overwrite")[0] == 0
    assert len(FeatureFile(tmp_path / "t.h5")) == 32


def test_what_is_no_feature_file_is_never_overwritten(xmg, tmp_path):
    manifest = write_manifest(tmp_path / "t.csv", texts(2))
    before = manifest.read_bytes()
    status, _, err = xmg("extract", manifest, "-e", "char-ngrams", "-o", manifest, "--overwrite")
    assert status == 1 and "no feature file" in err and manifest.read_bytes() == before
    status, _, err = xmg("extract", manifest, "-e", "char-ngrams", "-o", tmp_path, "--overwrite")
    assert status == 1 and "is a folder" in err


def test_edited_texts_are_not_taken_for_the_old_ones(xmg, tmp_path):
    manifest, out = write_manifest(tmp_path / "t.csv", texts(2)), tmp_path / "t.h5"
    assert xmg("extract", manifest, "-e", "char-ngrams", "-o", out)[0] == 0
    write_manifest(manifest, texts(2, prefix="changed"))
    status, _, err = xmg("extract", manifest, "-e", "char-ngrams", "-o", out)
    assert status == 1 and "16 inputs are changed ('0/0', ...)" in err


def test_an_edited_concepts_file_is_noticed(xmg, features, tmp_path):
    source, target = features("source", texts()), features("target", texts(prefix="x"))
    path, run = tmp_path / "concepts.toml", tmp_path / "run"
    tables = [f'[concept.c{i}]\nsource = ["class0{i}"]\ntarget = ["class0{i}"]' for i in range(4)]
    path.write_text("\n".join(tables))
    words = ("meta-train", source, target, "--run", run, "--concepts", path, *SMALL)
    assert xmg(*words)[0] == 0
    path.write_text("\n".join(tables[:3]))
    status, _, err = xmg("evaluate", run, "--shots", "2")
    assert status == 1 and "concepts.toml was edited" in err
    path.write_text("\n".join([*tables, 'test = ["class09"]']))
    status, _, err = xmg(*words)
    assert status == 1 and "`concept.c3.test` means nothing" in err


def test_one_unreadable_input_is_listed_and_the_rest_goes_on(xmg, tmp_path):
    rows = [*texts(3), ("empty", "   ", "class00")]
    manifest = write_manifest(tmp_path / "t.csv", rows)
    status, out, err = xmg("extract", manifest, "-e", "char-ngrams", "-o", tmp_path / "t.h5")
    assert status == 0 and "24 rows" in out and "rejected empty" in err
    assert [name for name, _ in FeatureFile(tmp_path / "t.h5").rejects] == ["empty"]


def test_several_inputs_become_one_file(xmg, tmp_path):
    a = write_manifest(tmp_path / "a.csv", texts(2))
    b = write_manifest(tmp_path / "b.csv", texts(3))
    status, _, _ = xmg("extract", a, b, "-e", "char-ngrams", "-o", tmp_path / "t.h5")
    file = FeatureFile(tmp_path / "t.h5")
    assert status == 0 and len(file) == 40 and file.dataset == "a+b"
    assert file.ids[0] == b"a/0/0" and file.ids[16] == b"b/0/0"


def test_extract_names_what_is_wrong(xmg, tmp_path):
    manifest = write_manifest(tmp_path / "t.csv", texts(2))
    out = tmp_path / "t.h5"
    status, _, err = xmg("extract", tmp_path / "none", "-e", "char-ngrams", "-o", out)
    assert status == 1 and str(tmp_path / "none") in err
    status, _, err = xmg("extract", manifest, "-e", "resnet51", "-o", out)
    assert status == 1 and "resnet51" in err and "resnet50" in err
    status, _, err = xmg("extract", manifest, "-e", "char-ngrams", "-o", out, "--pooling", "cls")
    assert status == 1 and "--pooling" in err
    assert xmg("extract", manifest, "-o", out)[0] == 2
    assert not out.exists()


def test_meta_train_names_what_is_wrong(xmg, features, tmp_path):
    source, run = features("source", texts()), tmp_path / "run"

    def fails(target, *options, status=1):
        found, out, err = xmg("meta-train", source, target, "--run", run, *options)
        assert found == status and not out and not run.exists()
        return err

    assert "none.h5" in fails(tmp_path / "none.h5")
    other = features("other", [(f"o{i}", t, c) for i, (_, t, c) in enumerate(texts())])
    assert "none occurs in both" in fails(other, *SMALL)
    crossed = features("crossed", [(i, t, f"class{11 - int(c[5:]):02d}") for i, t, c in texts()])
    assert "labels don't match" in fails(crossed, *SMALL)
    few = features("few", texts(4))
    err = fails(few)
    assert (
        "4 classes" in err and "needed are 5 target classes" in err and "fix: extract more" in err
    )
    target = features("target", texts(prefix="x"))
    err = fails(target, "--n-way", "3", "--shots", "10")
    assert "has 8 rows" in err and "fix: --n-query 4 --shots 4 " in err
    assert "n_way" in fails(target, "--n-way", "1")
    fails(target, "--shots", "1,five", status=2)
    assert "frobnicate" in fails(target, "--config", config(tmp_path, "frobnicate = 1"))
    assert "TOML" in fails(target, "--config", config(tmp_path, "seed ="))
    for name in ("pairs", "concepts"):
        err = fails(target, "--config", config(tmp_path, f"{name} = [5]"))
        assert f"{name} is [5], no path. fix: put it in quotes" in err
        assert "null byte" in fails(target, "--config", config(tmp_path, f'{name} = "a\\u0000b"'))


def config(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, "utf-8-sig")  # as Notepad does
    return path


def test_settings_from_a_file_and_from_options(xmg, features, tmp_path):
    source, target = features("source", texts()), features("target", texts(prefix="x"))
    path = config(tmp_path, 'seed = 7\nloss = "nce-margin"\nn_tasks = 3')
    words = ("meta-train", source, target, "--run", tmp_path / "run", *SMALL, "--config", path)
    assert xmg(*words, "--seed", "8")[0] == 0
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (saved["seed"], saved["loss"], saved["n_tasks"]) == (8, "nce-margin", 3)
    status, _, err = xmg(*words)
    assert status == 1 and "seed = 8, not 7" in err


def test_evaluate_names_what_is_wrong(xmg, features, tmp_path):
    status, _, err = xmg("evaluate", tmp_path)
    assert status == 1 and "is not a run folder" in err
    assert xmg("evaluate")[0] == 2
    source, target = features("source", texts()), features("target", texts(prefix="x"))
    run = tmp_path / "run"
    assert xmg("meta-train", source, target, "--run", run, *SMALL)[0] == 0
    status, _, err = xmg("evaluate", run, "--shots", "7")
    assert status == 1 and "9 (shots + queries)" in err
    huge = str(10**20)  # beyond what NumPy counts
    status, _, err = xmg("evaluate", run, "--shots", huge)
    assert status == 1 and f"{10**20 + 2} (shots + queries)" in err
    assert xmg("evaluate", run, "--shots", "0")[0] == 2
    status, _, err = xmg("evaluate", run, "--shots", "01,1")
    assert status == 2 and "'01,1' names a shot count twice" in err
    target.unlink()
    status, _, err = xmg("evaluate", run)
    assert status == 1 and str(target) in err


def test_curves_for_tensorboard(xmg, features, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    source, target = features("source", texts()), features("target", texts(prefix="x"))
    run = tmp_path / "run"
    words = ("meta-train", source, target, "--run", run, *SMALL, "--tensorboard")
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "torch.utils.tensorboard", None)
        status, out, err = xmg(*words)
    assert status == 1 and not out and "pip install 'xmg[tensorboard]'" in err
    assert not run.exists()
    assert xmg(*words)[0] == 0
    (curves,) = (run / "tensorboard").iterdir()
    assert b"validation_accuracy" in curves.read_bytes()
    assert xmg("evaluate", run, "--shots", "1")[0] == 0


@pytest.mark.parametrize("command", ["", "demo", "extract", "meta-train", "evaluate"])
def test_help(xmg, command):
    status, out, _ = xmg(*command.split(), "--help")
    assert status == 0 and "Usage" in out
    assert not command or "Example: xmg" in out


@pytest.mark.parametrize(
    ("setting", "options", "message"),
    [
        ("widht = 3", (), "c.toml: there is no setting 'widht'; the closest is 'width'. fix: "),
        ("width = 0", (), "c.toml: width is 0. fix: 1 or more"),
        ("n_way = 3", ("--n-way", "1"), "error: n_way is 1. fix: 2 or more"),
        ("tau = 1e300", (), "c.toml: tau is 1e+300. fix: "),
        ("margin = -3", (), "c.toml: margin is -3. fix: "),
        ('system = "crmoa"', (), "there is no system 'crmoa'; the closest is 'croma'. fix: "),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(xmg, tmp_path, setting, options, message):
    (tmp_path / "c.toml").write_text(setting)
    words = ("s.h5", "t.h5", "--run", tmp_path / "run", "--config", tmp_path / "c.toml", *options)
    status, _, err = xmg("meta-train", *words)
    assert status == 1 and message in err


def test_a_closed_form_is_sent_to_where_it_runs(xmg, features, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, target = features("a source", texts()), features("target", texts(prefix="x"))
    files = source.name, target.name
    status, _, err = xmg("meta-train", *files, "--run", "run", "--system", "canonical")
    assert status == 1 and "'canonical' is a closed form" in err
    spec, command = re.search(r"fix: printf '(.*)' > check.toml && xmg (ablate .*)", err).groups()
    (tmp_path / "check.toml").write_text(spec.replace(r"\n", "\n"))
    small = "shots = [1]\n[settings]\nn_way = 3\nn_query = 2\nn_repeats = 2\n"
    with (tmp_path / "check.toml").open("a") as file:
        file.write(small)
    status, _, err = xmg(*shlex.split(command))
    assert status == 0, err
