"""xmg extract: a spec of several data sets, a part of the data, and a dry run."""

import csv

import numpy as np
import pytest
import soundfile

from xmg.cache import FeatureFile
from xmg.extract import spec


def write_texts(path, n, prefix="text"):
    rows = [(f"{prefix} {i}", f"class{i * 4 // n}") for i in range(n)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def write_clips(folder, n):
    rng = np.random.default_rng(0)
    for i in range(n):
        path = folder / f"class{i % 2}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(0, 0.1, 1600), 16_000)
    return folder


def table(data, encoder, out, more=""):
    return f'[[extract]]\ndata = "{data}"\nencoder = "{encoder}"\nout = "{out}"\n{more}\n'


@pytest.fixture
def folder(tmp_path):
    """A folder of two tables of texts, some clips, and sets.toml for them."""
    write_texts(tmp_path / "a.csv", 12)
    write_texts(tmp_path / "b.csv", 8, "other")
    write_clips(tmp_path / "clips", 6)
    (tmp_path / "sets.toml").write_text(
        table("a.csv", "char-ngrams", "a.h5")
        + table("b.csv", "char-ngrams", "out/b.h5", 'dtype = "float32"')
        + table("clips", "logmel40-stats", "clips.h5", "limit = 4")
    )
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.rglob("*.h5*"))


def test_a_spec_makes_every_file(xmg, folder, monkeypatch):
    loaded = []
    load = spec.load_encoder
    monkeypatch.setattr(
        spec,
        "load_encoder",
        lambda name, **options: loaded.append(name) or load(name, **options),
    )
    status, out, _ = xmg("extract", folder / "sets.toml")
    assert status == 0 and loaded == ["char-ngrams", "logmel40-stats"]
    assert out.splitlines() == [
        f"{folder / 'a.h5'}: 12 rows x 2048, 4 classes",
        f"{folder / 'out' / 'b.h5'}: 8 rows x 2048, 4 classes",
        f"{folder / 'clips.h5'}: 4 rows x 860, 2 classes",
    ]
    assert FeatureFile(folder / "out" / "b.h5").dtype == np.float32
    status, again, err = xmg("extract", folder / "sets.toml")
    assert status == 0 and again == out and err.count("nothing to do") == 3


def test_a_spec_and_the_options_give_the_same_bytes(xmg, folder):
    assert xmg("extract", folder / "sets.toml")[0] == 0
    words = ("-e", "char-ngrams", "-o", folder / "alone.h5")
    assert xmg("extract", folder / "a.csv", *words)[0] == 0
    assert (folder / "alone.h5").read_bytes() == (folder / "a.h5").read_bytes()


def test_one_that_fails_does_not_keep_the_others(xmg, folder):
    (folder / "empty").mkdir()
    spec = folder / "sets.toml"
    spec.write_text(table("empty", "logmel40-stats", "empty.h5") + spec.read_text())
    status, out, err = xmg("extract", spec)
    assert status == 1 and names(folder) == ["a.h5", "b.h5", "clips.h5"]
    assert len(out.splitlines()) == 3
    assert f"failed: {folder / 'empty.h5'}: {folder / 'empty'} is an empty folder" in err
    assert f"error: 1 of 4 data sets failed: {folder / 'empty.h5'}" in err


def test_what_is_no_feature_file_stays(xmg, folder, monkeypatch):
    monkeypatch.setattr(spec, "load_encoder", None)  # said before anything is loaded
    before = (folder / "a.csv").read_text()
    for out in (folder / "a.csv", "/dev/null"):
        for words in ((), ("--overwrite",), ("--dry-run",)):
            status, _, err = xmg(
                "extract", folder / "a.csv", "-e", "char-ngrams", "-o", out, *words
            )
            assert status == 1 and f"{out} is no feature file, and stays. fix: name another" in err
            assert "--overwrite" not in err
    assert (folder / "a.csv").read_text() == before


def test_an_empty_argument_is_not_the_working_folder(xmg, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for words in (("",), ("a.csv", "")):  # as of a shell variable that is not set
        status, _, err = xmg("extract", *words, "-e", "char-ngrams", "-o", "x.h5")
        assert status == 2 and "a path is empty. fix: " in " ".join(err.split())
    assert names(folder) == []


def test_without_permission_to_write(xmg, folder, denied):
    assert xmg("extract", folder / "a.csv", "-e", "char-ngrams", "-o", folder / "a.h5")[0] == 0
    (folder / "closed").mkdir(mode=0)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    words = ("extract", "b.csv", "-e", "char-ngrams", "-o")
    same, *found = denied(
        folder,
        ("extract", "a.csv", "-e", "char-ngrams", "-o", "a.h5"),
        (*words, "new.h5"), (*words, "sub/new.h5"), (*words, "closed/new.h5"),
        (*words, "closed/new.h5", "--dry-run"), (*words, "a.h5", "--overwrite"),
    )  # fmt: skip
    (folder / "closed").chmod(0o755)
    assert same[0] == 0 and "nothing to do" in same[1]
    for status, said in found:
        assert status == 1 and said.startswith("error: cannot write ") and said.count("\n") < 3
        assert said.endswith("fix: name an output where you may write\n")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_permission_to_read(folder, denied):
    (folder / "closed").mkdir()
    for name in ("a.csv", "closed", "clips/class1"):
        (folder / name).chmod(0)
    words = ("-e", "char-ngrams", "-o", "new.h5")
    found = denied(
        folder,
        ("extract", "a.csv", *words), ("extract", "closed", *words),
        ("extract", "closed/a.csv", *words), ("extract", "clips", *words),
    )  # fmt: skip
    for name in ("a.csv", "closed", "clips/class1"):
        (folder / name).chmod(0o755)
    for (status, said), name in zip(
        found, ("a.csv", "closed", "closed/a.csv", "clips/class1"), strict=True
    ):
        assert status == 1 and f"{name}: Permission denied. fix: check " in said
        assert said.count("\n") == 1


def test_a_spec_is_checked_before_anything_runs(xmg, folder):
    spec = folder / "sets.toml"
    spec.write_text(spec.read_text() + table("a.csv", "char-ngrm", "c.h5"))
    status, out, err = xmg("extract", spec)
    assert status == 1 and not out and "table 4: no encoder 'char-ngrm'" in err
    assert names(folder) == []


@pytest.mark.parametrize(
    "words",
    [
        ("-e", "char-ngrams"), ("-o", "a.h5"), ("--layout", "folder"), ("--id-column", "text"),
        ("--content-column", "text"), ("--label-column", "text"), ("--weights", "w"),
        ("--pooling", "cls"), ("--dtype", "float16"),
    ],
)  # fmt: skip
def test_what_a_spec_says_itself_is_no_option(xmg, folder, words):
    status, _, err = xmg("extract", folder / "sets.toml", *words)
    assert status == 2 and "spec" in err and names(folder) == []


def test_options_for_every_data_set(xmg, folder):
    status, out, _ = xmg(
        "extract", folder / "sets.toml", "--limit", 2, "--workers", 1, "--device", "cpu"
    )
    assert status == 0 and [line.split()[1] for line in out.splitlines()] == ["2"] * 3
    status, _, err = xmg("extract", folder / "sets.toml")
    assert status == 1 and "3 of 3 data sets failed" in err and "10 inputs are new" in err
    status, out, _ = xmg("extract", folder / "sets.toml", "--update")
    assert status == 0 and [line.split()[1] for line in out.splitlines()] == ["12", "8", "4"]
    status, out, _ = xmg("extract", folder / "sets.toml", "--overwrite", "--limit", 3)
    assert status == 0 and [line.split()[1] for line in out.splitlines()] == ["3"] * 3


def test_without_a_spec_encoder_and_output_are_needed(xmg, folder):
    status, _, err = xmg("extract", folder / "a.csv", "-e", "char-ngrams")
    assert status == 2 and "--out" in err
    status, _, err = xmg("extract", folder / "a.csv", "-o", folder / "a.h5")
    assert status == 2 and "--encoder" in err
    status, _, err = xmg("extract", folder / "none.toml")
    assert status == 1 and "no spec at" in err


def test_limit_meets_every_class_and_update_does_the_rest(xmg, folder):
    words = ("extract", folder / "a.csv", "-e", "char-ngrams", "-o", folder / "a.h5")
    status, out, _ = xmg(*words, "--limit", 4)
    assert status == 0 and "4 rows x 2048, 4 classes" in out
    status, _, err = xmg(*words)
    assert status == 1 and "8 inputs are new" in err and "--update" in err
    assert xmg(*words, "--update")[0] == 0
    assert xmg(*words[:-1], folder / "anew.h5")[0] == 0
    assert (folder / "a.h5").read_bytes() == (folder / "anew.h5").read_bytes()


def test_labels_in_a_column_of_another_name_are_asked_for(xmg, tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("text,species\na bark,dog\nrain,rain\n")
    words = ("extract", file, "-e", "char-ngrams", "-o", tmp_path / "t.h5")
    for more in (("--dry-run",), ()):
        status, _, err = xmg(*words, *more)
        assert status == 0 and "no input has a label" in err and "names it: species" in err
    assert "no input" not in xmg(*words, "--overwrite", "--label-column", "species")[2]


def test_dry_run_of_a_spec_writes_nothing(xmg, folder):
    status, out, _ = xmg("extract", folder / "sets.toml", "--dry-run")
    assert status == 0 and names(folder) == [] and not (folder / "out").exists()
    first, second, third = out.splitlines()
    # 2 x 6 + 2 x 7 letters; 12 rows x 2048 x 2 bytes
    assert (
        f"{folder / 'a.h5'}: new: 12 inputs of 4 classes, 74 bytes -> features of 49.2 kB" in first
    )
    assert "8 inputs" in second and "65.5 kB" in second  # float32
    assert "4 inputs of 2 classes" in third and "about 0:00:" in third


def test_dry_run_says_what_would_become_of_what_is_there(xmg, folder):
    spec = folder / "sets.toml"
    assert xmg("extract", spec, "--limit", 4)[0] == 0
    status, out, err = xmg("extract", spec, "--dry-run")
    assert status == 0 and [line.split(": ")[1] for line in out.splitlines()] == [
        "refused", "refused", "nothing to do",
    ]  # fmt: skip
    assert err.count("fix: --update") == 2
    status, out, _ = xmg("extract", spec, "--dry-run", "--update")
    assert "update: 12 inputs" in out and "for 8 of them" in out


def test_dry_run_estimates_sequences(xmg, folder):
    out = folder / "frames.h5"
    words = ("extract", folder / "clips", "-e", "logmel40", "-o", out, "--dry-run")
    (folder / "clips" / "class0" / "0.wav").write_text("no sound")
    status, said, err = xmg(*words)
    assert status == 0 and "features of ~5.3 kB" in said  # 6 x 11 frames x 40 x 2 bytes
    assert "rejected class0/0.wav" in err
