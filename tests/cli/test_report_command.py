"""xmg report: a page that is sound, whatever data hold."""

import base64
import json
import re
import shutil

import hostile
import html_page
import pytest
import synthetic

from xmg.cli.ablate import _say
from xmg.engine.pages.render import plain
from xmg.engine.train import meta_train


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    return hostile.world(tmp_path_factory.mktemp("weak"))


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    return hostile.world(tmp_path_factory.mktemp("strong"), weak=False, kinds=("text", "image"))


def made(xmg, run, *words):
    status, out, err = xmg("report", run, *words, "-o", run.parent / "page.html", "--overwrite")
    assert status == 0, err
    assert out.strip() == str(run.parent / "page.html")
    assert err.count("now confusions, retrieval and the map") == 1
    return (run.parent / "page.html").read_text("utf-8")


def test_everything_is_on_the_page(xmg, weak):
    run, source, target = weak
    text = made(xmg, run, "--source-data", source, "--target-data", target)
    page = html_page.read(text)
    assert len(page.all("svg")) == 5  # accuracy, curves, two confusions, map
    sounds, images = page.all("audio"), page.all("img")
    assert sounds and images
    assert all(x["src"].startswith("data:audio/mpeg;base64,") for x in sounds)
    for image in images:
        data = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"))
        assert data.startswith(b"\xff\xd8")
    for name in hostile.NAMES:
        if name in text:
            assert name.isalnum() or "<" not in name
        assert " ".join(plain(name).split()) in " ".join(page.text.split())
    for words in ("The unit is a repeat", "any of its concept", "new classes have no source rows",
                  "SHA-256", "1-shot", "3-shot", "never seen", "class mean, whitened"):  # fmt: skip
        assert words in page.text
    assert str(run.parent) not in text  # folders are private
    caught = re.findall("cannot be shown: ([^\n]+)", page.text)
    assert caught and {c.split(":")[0] for c in caught} <= {
        "not a picture in a known format", "not readable audio", "cannot open",
    }  # fmt: skip


def test_strong_pairs_without_and_with_data(xmg, strong):
    run, source, _ = strong
    page = html_page.read(made(xmg, run, "--shots", "2"))
    assert not page.all("img") and not page.all("audio") and not page.all("blockquote")
    assert "2-shot" in page.text and "1-shot" not in page.text
    assert "pairs of classes that meta-training never saw" in page.text
    assert "the paired item" in page.text
    page = html_page.read(made(xmg, run, "--shots", "2", "--source-data", source))
    assert page.all("blockquote") and not page.all("img")


def test_a_system_without_a_source_head(xmg, tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    config = synthetic.config_of(*files, iterations=2, n_validation=2, system="weak-labels")
    meta_train(config, tmp_path / "run")
    page = html_page.read(made(xmg, tmp_path / "run"))
    assert "no head for the source" in page.text and len(page.all("svg")) == 2


def test_no_pair_is_of_a_new_class(xmg, tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    config = synthetic.config_of(source, target, iterations=2, n_validation=2, n_sets=4)
    from xmg.engine.data.problem import open_problem

    test = set(open_problem(config).test.target.classes)
    ids = [f"x{i}" if n in test else f"id{i:05d}" for i, n in enumerate(target.class_names())]
    other = synthetic.write(tmp_path / "t.h5", target.features, target.class_names(), ids)
    meta_train(synthetic.config_of(source, other, iterations=2, n_validation=2, n_sets=4),
               tmp_path / "run")  # fmt: skip
    page = html_page.read(made(xmg, tmp_path / "run"))
    assert "no pair of source.h5 and t.h5" in page.text and "fix: " in page.text


def test_a_page_is_not_lost(xmg, strong, tmp_path):
    run, *_ = strong
    page = run / "report.html"
    page.write_text("<!DOCTYPE html>mine")
    status, _, err = xmg("report", run)
    assert status == 1 and "exists. fix: --overwrite" in err and page.read_text().endswith("mine")
    page.write_text("mine")
    for words in ((), ("--overwrite",)):
        status, _, err = xmg("report", run, *words)
        assert status == 1 and "is not what this command writes, and stays" in err
    assert page.read_text() == "mine"
    page.unlink()
    status, _, err = xmg("report", run, "-o", tmp_path / "features.h5", "--overwrite")
    assert status == 1 and f"fix: -o {tmp_path / 'features.html'}" in err
    (tmp_path / "features.h5").write_bytes(b"features")
    page.symlink_to(tmp_path / "features.h5")
    assert xmg("report", run, "--overwrite")[0] == 1
    assert page.read_bytes() == b"features"
    page.unlink()


def test_refusals(xmg, tmp_path, strong):
    run, *_ = strong
    status, _, err = xmg("report", tmp_path)
    assert status == 1 and "neither a run folder" in err and "fix: " in err
    (tmp_path / "cells").mkdir()
    status, _, err = xmg("report", tmp_path)
    assert status == 1 and "lacks spec.json" in err and "xmg ablate" in err
    status, _, err = xmg("report", tmp_path, "--shots", "1")
    assert status == 1 and "leave them out" in err
    out = ("-o", tmp_path / "new.html")
    status, _, err = xmg("report", run, "--source-data", tmp_path / "none", *out)
    assert status == 1 and "there is nothing at" in err
    assert xmg("report", run, "--shots", "x", *out)[0] == 2
    (tmp_path / "other.csv").write_text("id,text\nq,hello\n")
    status, _, err = xmg("report", run, "--source-data", tmp_path / "other.csv", *out)
    assert status == 1 and "none is in both" in err
    assert not (tmp_path / "new.html").exists()


@pytest.fixture
def ablate(xmg, tmp_path):
    """Run two closed forms over two seeds into out/; returns what is printed."""

    def run(shots, axes=""):
        synthetic.write_pair(tmp_path, n_classes=12, per_class=12, latent=4, dim=6)
        (tmp_path / "some.toml").write_text(
            'source = "source.h5"\ntarget = "target.h5"\nsystems = ["class-mean", "cca"]\n'
            f'seeds = 2\nshots = {shots}\nreference = "cca"\n[settings]\nn_way = 3\nn_query = 4\n'
            f"n_tasks = 2\nn_repeats = 2\nn_validation = 4\n{axes}"
        )
        status, out, err = xmg("ablate", tmp_path / "some.toml", "-o", tmp_path / "out")
        assert status == 0, err
        return out

    return run


def test_an_ablation(xmg, ablate, tmp_path):
    out = ablate([1, 3])
    assert out.strip() == (tmp_path / "out" / "tables.md").read_text().strip()
    status, out, err = xmg("report", tmp_path / "out")
    assert status == 0, err
    page = html_page.read((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert "Ablation: some" in page.text and "CCA against" in page.text
    assert len(page.all("svg")) == 1


def test_an_ablation_of_which_combinations_have_no_result(xmg, ablate, tmp_path):
    """One failed whole, and of another no seed is finished by both rows: neither is drawn."""
    ablate([1], '[axes]\nsets = ["label", "id"]\n')
    out = tmp_path / "out"
    folders = [out / name for name in json.loads((out / "spec.json").read_text())["cells"]]
    for folder in (*folders[2:4], *folders[6:8], folders[0], folders[5]):
        (folder / "result.json").unlink()
        (folder / "failure.txt").write_text("no luck")
    status, _, err = xmg("report", out)
    assert status == 0, err
    page = html_page.read((out / "report.html").read_text("utf-8"))
    assert "No row has finished." in page.text and not page.all("svg")
    assert "No seed is finished by all rows." in page.text


def test_an_ablation_whose_files_are_elsewhere_says_which_option_names_them(xmg, tmp_path):
    source, _ = synthetic.write_pair(tmp_path, n_classes=3, per_class=2, latent=4, dim=6)
    status, _, err = xmg("ablate", "text-to-speech", "--source", source.path)
    assert status == 1
    assert "the spec's target, speech.h5, is not there. fix: --target FEATURES.h5" in err


def test_the_tables_of_an_ablation_steer_no_terminal(tmp_path, capsys):
    """Labels are a spec's, which may come from a stranger."""
    (tmp_path / "tables.md").write_text("| x\x1b[2J | 1 ± 2 |\n", "utf-8")
    _say([], tmp_path, [])
    assert capsys.readouterr().out == "| x\\x1b[2J | 1 ± 2 |\n\n"


def test_where_the_page_cannot_go_is_told_before_minutes_of_work(strong, denied, tmp_path):
    run = shutil.copytree(strong[0], tmp_path / "run")
    found = denied(run, ("report", "."), ("report", ".", "-o", "new/page.html"))
    for (status, said), page in zip(found, ("report.html", "new/page.html"), strict=True):
        assert status == 1
        assert said == (
            f"error: cannot write {page}: Permission denied. "
            "fix: name an output where you may write\n"
        )
