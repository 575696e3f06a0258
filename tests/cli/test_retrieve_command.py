"""xmg retrieve: ids, files and texts; tables, JSON and a page."""

import json
import sys
import types

import hostile
import html_page
import numpy as np
import pytest
import synthetic

from xmg.cache import decode
from xmg.engine.analysis.retrieval import open_aligned
from xmg.engine.train import meta_train
from xmg.extract.types import RejectError


class Words:
    """An encoder of texts: the i-th row of a table for the text `row i`."""

    name, modality, sequences, batch_size = "none", "text", False, 4
    weights_sha256, preprocessing = "", {"scale": 1}

    def __init__(self, table):
        self.table, self.dim = table, table.shape[1]

    def decode(self, content):
        text = content if isinstance(content, str) else content.read_text()
        if not text.startswith("row "):
            raise RejectError("no row")
        return int(text.split()[1])

    def encode(self, batch):
        return [self.table[i].astype("f4") for i in batch]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieve")
    source, target = synthetic.write_pair(folder, n_classes=12, per_class=12)
    ids = [f"[red]sound{i}" for i in range(len(target))]
    names = target.class_names()
    other = synthetic.write(folder / "t.h5", target.features, names, ids)
    concepts = [f'[concept.n{c}]\nsource = ["c0{c}"]\ntarget = ["c0{c}"]' for c in range(5)]
    (folder / "concepts.toml").write_text("\n".join(concepts))
    config = synthetic.config_of(source, other, iterations=3, n_validation=2, n_sets=4,
                                 concepts=folder / "concepts.toml")  # fmt: skip
    meta_train(config, folder / "run")
    return folder / "run"


@pytest.fixture
def words(run, monkeypatch):
    """The source's encoder; returns what it was asked for."""
    asked = []
    table = np.asarray(open_aligned(run).source.features)

    def same_encoder(spec, **options):
        asked.append((spec, options))
        return Words(table)

    module = types.ModuleType("xmg.extract.same_encoder")
    module.same_encoder = same_encoder
    monkeypatch.setitem(sys.modules, "xmg.extract.same_encoder", module)
    return asked


def answers(xmg, *args):
    status, out, err = xmg("retrieve", *args, "--json")
    assert status == 0, err
    return json.loads(out)


def test_ids_of_either_side(xmg, run):
    aligned = open_aligned(run)
    found = answers(xmg, run, "id00003", "id00100", "-k", "4")
    assert found["from"] == "source" and found["gallery"].endswith("t.h5")
    z = aligned.embed("source", np.array([3, 100]))
    cosines = (z @ aligned.embed("target", np.arange(144)).T).numpy()
    ids = decode(aligned.target.ids)
    for answer, row in zip(found["answers"], cosines, strict=True):
        best = np.argsort(-row, kind="stable")[:4]
        assert [h["id"] for h in answer["hits"]] == [ids[i] for i in best]
        np.testing.assert_allclose([h["cosine"] for h in answer["hits"]], row[best], atol=1e-6)
    assert [a["label"] for a in found["answers"]] == ["c00", "c08"]
    assert found["answers"][0]["seen"] is True  # a concept's
    back = answers(xmg, run, "[red]sound5")
    assert back["from"] == "target" and len(back["answers"][0]["hits"]) == 10


def test_tables(xmg, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    status, out, _ = xmg("retrieve", run, "id00003", "-k", "2")
    assert status == 0 and out.count("[red]sound") == 2
    assert "id00003 (c00, seen in training)" in out
    assert "meta-training read 60 of them" in out  # 5 concepts of 12 rows


@pytest.mark.parametrize(
    ("query", "hinted"), [("row 3 dog.jpg", True), ("row 3 a/b", True), ("row 3", False)]
)
def test_a_text_that_looks_like_a_file_is_said_to_be_a_text(xmg, run, words, query, hinted):
    status, _, err = xmg("retrieve", run, query, "--from", "source")
    assert status == 0 and ("is no id and no file: read as a text" in err) == hinted


def test_texts_and_files_are_encoded(xmg, run, words, tmp_path):
    (tmp_path / "q.txt").write_text("row 7")
    found = answers(xmg, run, "row 3", tmp_path / "q.txt", "id00003", "--from", "source",
                    "--device", "cpu", "-k", "3")  # fmt: skip
    texts = found["answers"]
    np.testing.assert_allclose(
        [h["cosine"] for h in texts[0]["hits"]], [h["cosine"] for h in texts[2]["hits"]], atol=1e-6
    )
    assert [h["id"] for h in texts[0]["hits"]] == [h["id"] for h in texts[2]["hits"]]
    assert texts[0]["seen"] is None and texts[0]["label"] is None and texts[2]["seen"] is True
    expected = answers(xmg, run, "id00007", "-k", "3")["answers"][0]["hits"]
    assert [h["id"] for h in texts[1]["hits"]] == [h["id"] for h in expected]
    ((spec, options),) = words
    assert spec == open_aligned(run).source.spec
    assert options == {"name": None, "weights": None, "device": "cpu"}


def test_the_encoder_that_made_the_file_reads_texts(xmg, tmp_path):
    _, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    names = target.class_names()
    texts = [f"{'abcdefghijkl'[i // 12] * 3} word{i % 12} {i}" for i in range(144)]
    rows = zip(decode(target.ids), texts, names, strict=True)
    lines = ["id,text,label", *(",".join(row) for row in rows)]
    (tmp_path / "texts.csv").write_text("\n".join(lines))
    made = tmp_path / "texts.h5"
    words = ("--encoder", "char-ngrams", "-o", made)
    assert xmg("extract", tmp_path / "texts.csv", *words)[0] == 0
    config = synthetic.config_of(
        synthetic.FeatureFile(made), target, iterations=2, n_validation=2, n_sets=4
    )
    meta_train(config, tmp_path / "run")
    page = tmp_path / "p.html"
    found = answers(xmg, tmp_path / "run", texts[30], "id00030", "--from", "source", "-o", page)
    by_text, by_id = (answer["hits"] for answer in found["answers"])
    assert [h["id"] for h in by_text] == [h["id"] for h in by_id]
    np.testing.assert_allclose(
        [h["cosine"] for h in by_text], [h["cosine"] for h in by_id], atol=1e-5
    )
    assert texts[30] in html_page.read(page.read_text("utf-8")).text


def test_another_gallery(xmg, run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    target = open_aligned(run).target
    rows = np.asarray(target.features[:5])
    synthetic.write(tmp_path / "g.h5", rows, ["<b>new"] * 5, [f"g{i}" for i in range(5)])
    found = answers(xmg, run, "id00000", "--gallery", tmp_path / "g.h5")
    assert {h["id"] for h in found["answers"][0]["hits"]} == {f"g{i}" for i in range(5)}
    assert {h["seen"] for h in found["answers"][0]["hits"]} == {None}
    page = tmp_path / "p.html"
    status, out, _ = xmg("retrieve", run, "id00000", "--gallery", tmp_path / "g.h5", "-o", page)
    assert status == 0 and "is not known" in out
    text = html_page.read(page.read_text("utf-8")).text
    assert "<b>new" in text and "g.h5" in text and "is not known" in text


def test_a_page_with_media(xmg, tmp_path):
    run, source, target = hostile.world(tmp_path)
    aligned = open_aligned(run)
    query = decode(aligned.source.ids[[1, 6, 40]])
    page = tmp_path / "p.html"
    data = ("--source-data", source, "--target-data", target)
    status, _, err = xmg("retrieve", run, *query, "-o", page, "-k", "6", *data)
    assert status == 0, err
    found = html_page.read(page.read_text("utf-8"))
    assert len(found.all("img")) == 2 and found.all("audio")  # of three queries one is damaged
    assert "cannot be shown: not a picture" in found.text
    assert all(name in found.text for name in query)
    assert xmg("retrieve", run, query[0], "-o", page)[0] == 1  # it is there
    assert xmg("retrieve", run, query[0], *data)[0] == 2  # no page to show them on


def test_a_page_shows_the_query_text(xmg, run, words, tmp_path):
    page = tmp_path / "p.html"
    status, _, err = xmg("retrieve", run, "row 3 <b>x</b>", "--from", "source", "-o", page)
    assert status == 0, err
    found = html_page.read(page.read_text("utf-8"))
    assert "row 3 <b>x</b>" in found.text and len(found.all("blockquote")) == 1


def test_only_pages_are_replaced(xmg, run, words, tmp_path):
    page = tmp_path / "q.html"
    page.write_text("<!DOCTYPE html>row 3")
    words = ("--from", "source", "-o", page, "--overwrite")
    status, _, err = xmg("retrieve", run, page, *words)
    assert status == 1 and "is an input, and stays" in err
    page.write_text("mine")
    status, _, err = xmg("retrieve", run, "id00003", *words)
    assert status == 1 and "is not what this command writes, and stays" in err
    assert page.read_text() == "mine"
    status, _, err = xmg("retrieve", run, "row " * 9999, *words[:-2], tmp_path / "a.h5")
    assert status == 1 and "does not end in .html" in err


def test_refusals(xmg, run, words, tmp_path):
    status, _, err = xmg("retrieve", run, "id00000", "elsewhere")
    assert status == 1 and "fix: --from source or --from target" in err
    assert xmg("retrieve", run, "id00000", "--from", "left")[0] == 2
    status, _, err = xmg("retrieve", run, "nonsense", "--from", "source")
    assert status == 1 and "cannot be read: no row" in err
    file = open_aligned(run).source
    status, _, err = xmg("retrieve", run, "id00000", "--gallery", file.path)
    assert status == 1 and "another shape" in err
    status, _, err = xmg("retrieve", tmp_path, "id00000")
    assert status == 1 and "is not a run folder" in err


def test_a_mistyped_id_loads_no_encoder(xmg, run, words, monkeypatch):
    monkeypatch.setattr("xmg.extract.inputs.modalities", lambda name: ["image"])
    status, _, err = xmg("retrieve", run, "id0003", "--from", "source")
    assert status == 1 and "the closest is 'id0" in err and not words


def test_a_query_need_not_be_unique(xmg, run):
    found = answers(xmg, run, "id00003", "id00003", "-k", "1")["answers"]
    assert found[0] == found[1]
