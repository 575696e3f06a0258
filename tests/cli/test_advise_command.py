"""xmg advise: tables and sentences for people, one JSON object for machines, a next step."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, decode
from xmg.cli.advice_text import _worth
from xmg.cli.advise import next_step
from xmg.cli.main import app
from xmg.engine.ablation.spec import cells_of, read_spec
from xmg.engine.analysis.advice import Gain, advise
from xmg.engine.analysis.heldout import Interval
from xmg.engine.config import make_config

WORDS = ("--shots", "1,3", "--n-way", "3", "--n-query", "4")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("advise")
    source, target = synthetic.write_pair(folder, n_classes=30, per_class=20)
    (folder / "few.toml").write_text("n_validation = 8\nwidth = 16\n")
    return source.path, target.path, folder / "few.toml"


@pytest.fixture(scope="module")
def found(files):
    return advise(config_of(files))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def config_of(files, **settings):
    small = {"shots": (1, 3), "n_way": 3, "n_query": 4, "n_validation": 8, "width": 16}
    return make_config(source=files[0], target=files[1], **{**small, **settings})


def test_json(xmg, files, found):
    status, out, err = xmg("advise", *files[:2], *WORDS, "--config", files[2], "--json")
    assert status == 0 and "5 of 5 (100%)" in err
    said = json.loads(out)
    assert said["system"] == found.system and said["sure"] == found.sure
    assert said["likeness"]["cka"]["value"] == pytest.approx(found.likeness.cka.value)
    assert [gain["shots"] for gain in said["gains"]] == [1, 3]
    for gain, same in zip(said["gains"], found.gains, strict=True):
        assert gain["difference"]["low"] == pytest.approx(same.difference.low)
        assert gain["worth"]["high"] is None or gain["worth"]["high"] >= 0
    assert set(said["curve"]) == {"1", "2", "3", "5", "7", "10", "15"}
    assert said["next"].startswith("next: ")
    assert "Infinity" not in out and "NaN" not in out


def test_tables_and_sentences(xmg, files, found):
    status, out, _ = xmg("advise", *files[:2], *WORDS, "--config", files[2])
    assert status == 0
    gain, cka = found.gains[0], found.likeness.cka
    for part in (
        f"{cka.value:.3f}", "mutual 10-nearest neighbours", "linear CKA, debiased",
        f"{100 * gain.aligned:.1f}", f"{100 * gain.difference.mean:+.1f}", "N_t labels",
        "S sets, 3-shot", "At 1 shot these pairs are worth", f"Use {found.system}:", "How sure:",
    ):  # fmt: skip
        assert part in out
    assert out.index("Use ") < out.index("how alike the frozen spaces are") < out.index("next: ")
    assert re.search(
        r"At 1 shot these pairs are worth (> \d+|\d+\.\d)( \[(> \d+|\d+\.\d), |\b)", out
    )


@pytest.mark.parametrize("system", ["class-mean-whitened", "canonical"])
def test_a_row_that_is_no_model_names_the_run_that_is(found, files, monkeypatch, system):
    monkeypatch.setattr(type(found), "system", property(lambda _: "croma"))
    train = next_step(found, config_of(files), files[2]).removeprefix("next: ")
    monkeypatch.setattr(type(found), "system", property(lambda _: system))
    said = next_step(found, config_of(files), files[2])
    assert f"xmg predict and xmg export take a run, not this row: {train}\n" in said


def test_a_table_of_pairs(xmg, files, found, tmp_path):
    """All pairs of equal ids, listed: the same figures, and the command for the run names them."""
    ids = [decode(FeatureFile(path).ids[:]) for path in files[:2]]
    rows = "".join(f"{a},{b}\n" for a, b in zip(*ids, strict=True))
    (tmp_path / "pairs.csv").write_text(f"source_id,target_id\n{rows}")
    options = ("--pairs", tmp_path / "pairs.csv", "--config", files[2], "--json")
    status, out, err = xmg("advise", *files[:2], *WORDS, *options)
    assert status == 0, err
    said = json.loads(out)
    assert said["likeness"]["cka"]["value"] == pytest.approx(found.likeness.cka.value)
    assert said["gains"][0]["aligned"] == pytest.approx(found.gains[0].aligned)
    assert f"--pairs {tmp_path / 'pairs.csv'}" in said["next"]


def test_worths_have_one_format():
    worth = Interval(0.0, 0.0, 0.04)
    assert _worth(Gain(1, 0.5, 0.5, worth, worth, 5)) == "0.0"
    worth = Interval(2.4, 0.13, np.inf)
    assert _worth(Gain(1, 0.5, 0.5, worth, worth, 5)) == "2.4 [0.1, > 5]"


def test_the_spec_runs_the_rows(files, found, tmp_path):
    """What is printed is a whole spec, whose cells have the very settings."""
    text = next_step(found, config_of(files), None).split("\n\n", 1)[1]
    path = tmp_path / "check.toml"
    path.write_text(text)
    cells = cells_of(read_spec(path))
    assert {cell.system for cell in cells} == {"class-mean-whitened", "canonical"}
    assert cells[0].configs[0] == config_of(files)


def test_paths_that_steer_a_terminal(found):
    files = Path("/a\x1b[2J"), Path('/b"\n\x9b')
    text = next_step(found, config_of(files), None)
    assert all(c.isprintable() or c == "\n" for c in text)
    assert tomllib.loads(text.split("\n\n", 1)[1])["source"] == str(files[0])


def test_croma_is_a_command(found, files, monkeypatch, tmp_path):
    monkeypatch.setattr(type(found), "system", property(lambda _: "croma"))
    config = config_of(files, concepts=tmp_path / "my concepts.toml")
    line = next_step(found, config, files[2]).removeprefix("next: ")
    words = shlex.split(line)
    assert words[:4] == ["xmg", "meta-train", str(files[0]), str(files[1])]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    assert options["--shots"] == "1,3" and options["--n-way"] == "3"
    assert options["--concepts"].endswith("my concepts.toml") and "--sets" not in options
    assert options["--config"] == str(files[2])
    command = next(c for c in app.registered_commands if c.name == "meta-train")
    known = command.callback.__annotations__
    assert {name[2:].replace("-", "_") for name in options} <= set(known)


def test_refusals(xmg, files, tmp_path):
    status, _, err = xmg("advise", *files[:2], "--shots", "1,300")
    assert status == 1 and "fix:" in err
    status, _, err = xmg("advise", files[0], tmp_path / "none.h5")
    assert status == 1
    assert xmg("advise", *files[:2], "--shots", "a")[0] == 2
    status, _, err = xmg("advise", *files[:2], "--concepts", tmp_path / "c.toml", "--sets", "id")
    assert status == 2 and "strong pairs" in err
    few = synthetic.write_pair(tmp_path, n_classes=10, per_class=20)
    status, out, err = xmg("advise", *(f.path for f in few), *WORDS, "--n-way", "2")
    assert status == 1 and "2 classes are held out" in err and not out
