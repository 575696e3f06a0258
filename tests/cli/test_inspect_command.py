"""xmg inspect: tables for people, one JSON object for machines."""

import json

import pytest
import synthetic

from xmg.engine.train import meta_train


def tiny_run(folder, **settings):
    files = synthetic.write_pair(folder, n_classes=12, per_class=12)
    config = synthetic.config_of(*files, iterations=3, n_validation=2, n_sets=4, **settings)
    meta_train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("inspect"))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


WORDS = ("--shots", "3", "--examples", "4")


def test_json_and_tables(xmg, run):
    status, out, _ = xmg("inspect", run, *WORDS, "--json")
    found = json.loads(out)
    assert status == 0
    assert [(r["queries"], r["gallery"], r["right"]) for r in found["retrieval"]] == [
        ("source", "target", "item"),
        ("source", "target", "class"),
        ("target", "source", "item"),
        ("target", "source", "class"),
    ]
    for row in found["retrieval"]:
        assert set(row["recall"]) == set(row["chance"]) == {"1", "5", "10"}
    assert len(found["examples"]) == 4
    for example in found["examples"]:
        assert example["shots"] == 3
        assert example["right"] == (example["true"] == example["predicted"])
        assert all(len(ids) == 3 for ids in example["support"].values())
        assert [set(pair) for pair in example["pairs"]] == [
            {"name", "target", "cosine", "source", "source_cosine"}
        ] * 3

    status, out, _ = xmg("inspect", run, *WORDS)
    assert status == 0 and "3-shot predictions" in out
    assert "pairs of unseen classes" in out and "source → target" in out and "@10" in out
    for example in found["examples"]:
        line = next(x for x in out.splitlines() if example["query"] in x and "%" in x)
        assert example["true"] in line and example["predicted"] in line
        for pair in example["pairs"]:
            assert f"{pair['cosine']:.3f}" in out and pair["target"] in out


def test_no_examples(xmg, run):
    status, out, _ = xmg("inspect", run, "--examples", "0")
    assert status == 0 and "predictions" not in out
    assert json.loads(xmg("inspect", run, "--examples", "0", "--json")[1])["examples"] == []


def test_names_that_look_like_markup_or_steer_terminals(xmg, tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    ids = [f"[red]{i}\x1b[2J" for i in range(len(source))]
    files = [
        synthetic.write(tmp_path / f"{name}.h5", file.features, file.class_names(), ids)
        for name, file in (("s", source), ("t", target))
    ]
    config = synthetic.config_of(*files, iterations=3, n_validation=2, n_sets=4)
    meta_train(config, tmp_path / "run")
    status, out, _ = xmg("inspect", tmp_path / "run", "--examples", "1")
    assert status == 0 and "[red]" in out and "\\x1b[2J" in out and "\x1b" not in out
    assert "1-shot predictions" in out  # the run's first shot count


def test_concepts_are_said_to_be_seen(xmg, tmp_path):
    path = tmp_path / "concepts.toml"
    tables = [f'[concept.n{c}]\nsource = ["c0{c}"]\ntarget = ["c0{c}"]' for c in range(5)]
    path.write_text("\n".join(tables))
    run = tiny_run(tmp_path, concepts=path)
    status, out, _ = xmg("inspect", run, "--examples", "0")
    assert status == 0 and "concepts seen in meta-training" in out and "any of its concept" in out


def test_refusals(xmg, tmp_path):
    status, _, err = xmg("inspect", tmp_path / "none")
    assert status == 1 and "is not a run folder" in err
    status, _, err = xmg("inspect", tiny_run(tmp_path, system="weak-labels"))
    assert status == 1 and "no source head" in err and "fix:" in err
    assert xmg("inspect", tmp_path / "run", "--shots", "0")[0] == 2
