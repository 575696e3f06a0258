"""The demo corpus: real text and speech, the same for a seed whatever the workers."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from babel import UnknownLocaleError

from xmg.cache import XmgError
from xmg.extract.sources import demo, open_source
from xmg.extract.sources.demo import LANGUAGES, VOICES, make_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    seen = []
    make_corpus(root, n_samples=2, n_workers=2, progress=lambda *at: seen.append(at))
    total = 2 * len(LANGUAGES)
    assert sorted(seen) == [(i, total) for i in range(1, total + 1)]
    return root


def read(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_the_same_seed_gives_the_same_files(corpus, tmp_path):
    make_corpus(tmp_path, n_samples=2, n_workers=1)
    assert read(tmp_path) == read(corpus)


def test_ids_pair_text_with_speech_in_every_language(corpus):
    text = open_source(corpus / "text.csv", "text")
    speech = open_source(corpus / "speech.csv", "audio")
    assert [s.id for s in text.samples] == [s.id for s in speech.samples]
    assert [s.label for s in text.samples] == [s.label for s in speech.samples]
    assert len({s.label for s in text.samples}) == len(LANGUAGES) >= 85
    assert len(VOICES) >= 10


def test_what_is_spoken(corpus):
    with open(corpus / "text.csv", newline="", encoding="utf-8") as file:
        texts = {row["id"]: row["text"] for row in csv.DictReader(file)}
    assert all(text.count(", ") >= 2 for text in texts.values())  # three place names
    assert any(ord(c) > 0x3000 for c in texts["ja/000"])
    for path in sorted(corpus.glob("speech/*/000.flac")):
        samples, rate = soundfile.read(path)
        assert rate == 16_000 and samples.ndim == 1
        assert 0.5 < len(samples) / rate < 20, path
        assert np.abs(samples).max() > 0.05, path


def test_a_whole_corpus_is_left_alone_and_another_refused(corpus):
    before = {p: p.stat().st_mtime_ns for p in corpus.rglob("*")}
    make_corpus(corpus, n_samples=2)
    assert {p: p.stat().st_mtime_ns for p in corpus.rglob("*")} == before
    with pytest.raises(XmgError, match="other settings"):
        make_corpus(corpus, n_samples=2, seed=1)


@pytest.mark.parametrize("names", [None, {}, {"FR": "Frans", "001": "monn", "HT": "HT"}])
def test_another_release_of_babel_is_told(names, monkeypatch, tmp_path):
    parse = demo.Locale.parse

    def other(language):
        if language != "ht":
            return parse(language)
        if names is None:
            raise UnknownLocaleError(language)
        return SimpleNamespace(territories=names)

    monkeypatch.setattr(demo, "Locale", SimpleNamespace(parse=other))
    with pytest.raises(XmgError, match=r"language 'ht'.*fix: pip install 'babel==2\.18"):
        make_corpus(tmp_path / "corpus", n_samples=2)
    assert not (tmp_path / "corpus").exists()


def test_an_interrupted_corpus_is_made_whole(corpus, tmp_path):
    def stop(done, total):
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_corpus(tmp_path, n_samples=2, progress=stop)
    assert not (tmp_path / "corpus.json").exists()
    make_corpus(tmp_path, n_samples=2)
    assert json.loads((tmp_path / "corpus.json").read_text())["seed"] == 0
    assert read(tmp_path) == read(corpus)


def test_where_the_corpus_cannot_lie_is_not_a_failure_of_speech(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file/corpus"):
        make_corpus(tmp_path / "file" / "corpus")
