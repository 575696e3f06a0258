import tomllib

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import XmgError
from xmg.cache.pairs import read_concepts
from xmg.engine.mining.links import mine, unmatched
from xmg.engine.mining.names import shared_word, singular, spoken, words
from xmg.engine.mining.similarity import Similarity, by_vectors
from xmg.engine.mining.writing import concepts_toml, table_csv, write_text

NAMES = st.lists(st.text(max_size=6), min_size=1, max_size=6, unique=True)


def symmetric(n, *entries):
    values = np.eye(n)
    for i, j, value in entries:
        values[i, j] = values[j, i] = value
    return values


def sides(concepts):
    return [(c.name, c.source, c.target) for c in concepts]


def test_words():
    assert words("CarHorns_2") == ["car", "horns"]
    assert words("keyboard-typing (long)") == ["keyboard", "typing", "long"]
    assert words("2001") == ["2001"]
    assert words("كلب") == ["كلب"]
    assert words("+_+") == []
    assert words("e\u0301te\u0301") == words("\u00e9t\u00e9")
    plurals = ["faces", "glasses", "boxes", "bunnies", "bus", "gas", "glass", "watches", "ties"]
    assert [singular(word) for word in plurals] == [
        *("face", "glass", "box", "bunny", "bus", "gas", "glass", "watch", "tie")
    ]
    assert [spoken(name) for name in ("CarHorns", "+")] == ["a car horn", "a +"]


def test_a_concept_is_named_by_what_its_classes_share():
    assert shared_word(["wild_cat", "Cats"], ["cat_meow"]) == "cat"
    assert shared_word(["dalmatian", "dog"], ["dog"]) == "dalmatian"
    assert shared_word(["+"], ["dog"]) == "+"


def test_links_are_the_best_of_either_side_or_close_to_it():
    source, target = ["cat", "lynx", "car"], ["meow", "roar", "horn"]
    values = symmetric(
        6, (0, 1, 0.8), (0, 3, 0.9), (1, 3, 0.85), (0, 4, 0.6), (1, 4, 0.5), (2, 5, 0.7)
    )
    concepts = mine(source, target, values, min_similarity=0.5, margin=0.1)
    assert sides(concepts) == [("cat", ("cat", "lynx"), ("meow",)), ("car", ("car",), ("horn",))]
    assert [(x.source, x.similarity) for x in concepts[0].links] == [("cat", 0.9), ("lynx", 0.85)]
    assert concepts[0].strength == pytest.approx(0.875)
    assert (concepts[0].rivals[0].source, concepts[0].rivals[0].target) == ("cat", "roar")
    assert unmatched(source, target, concepts) == ([], ["roar"])
    only = mine(source, target, values, min_similarity=0.5, margin=0.1, max_concepts=1)
    assert sides(only) == sides(concepts)[:1]


def test_a_chain_of_links_is_no_concept():
    source, target = ["a", "b", "c", "d"], ["A", "B", "C", "D"]
    steps = [(i, 4 + i, 1.0) for i in range(4)] + [(i, 5 + i, 0.95) for i in range(3)]
    concepts = mine(source, target, symmetric(8, *steps), min_similarity=0.6)
    assert [c.source for c in concepts] == [(x,) for x in source]  # one step up is 0.24 on average


def test_a_name_in_both_files_is_two_classes():
    concepts = mine(["cat", "dog"], ["dog"], symmetric(3, (1, 2, 1.0)), min_similarity=0.5)
    assert unmatched(["cat", "dog"], ["dog"], concepts) == (["cat"], [])
    assert unmatched(["dog"], ["dog", "cat"], concepts) == ([], ["cat"])


def test_concepts_of_one_name_are_numbered():
    values = symmetric(4, (0, 2, 1.0), (1, 3, 0.9))
    concepts = mine(["Dog", "dog"], ["x", "y"], values, min_similarity=0.5)
    assert [c.name for c in concepts] == ["dog", "dog_2"]


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 999), st.floats(0, 0.5))
def test_every_concept_has_both_sides_and_no_class_is_in_two(n_s, n_t, seed, least):
    values = np.random.default_rng(seed).random((n_s + n_t, n_s + n_t))
    values = (values + values.T) / 2
    source, target = [f"s{i}" for i in range(n_s)], [f"t{i}" for i in range(n_t)]
    try:
        concepts = mine(source, target, values, min_similarity=least)
    except XmgError:
        assert values[:n_s, n_s:].max() < least
        return
    for names in ([s for c in concepts for s in c.source], [t for c in concepts for t in c.target]):
        assert len(set(names)) == len(names)
    for c in concepts:
        assert c.source and c.target
        assert all(link.similarity >= least for link in c.links)
        assert all((r.source in c.source) != (r.target in c.target) for r in c.rivals)
    assert [c.strength for c in concepts] == sorted((c.strength for c in concepts), reverse=True)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 999))
def test_rivals_are_the_first_of_all_pairs_that_cross_a_concept(n_s, n_t, seed):
    values = np.random.default_rng(seed).integers(0, 4, (n_s + n_t, n_s + n_t)) / 4.0  # many ties
    values = np.maximum(values, values.T)
    values[0, n_s] = values[n_s, 0] = 1
    source, target = [f"s{i}" for i in range(n_s)], [f"t{i}" for i in range(n_t)]
    for c in mine(source, target, values, min_similarity=0.5):
        crossing = [
            (-values[s, n_s + t], s, t)
            for s in range(n_s)
            for t in range(n_t)
            if (source[s] in c.source) != (target[t] in c.target)
        ]
        found = [(-r.similarity, source.index(r.source), target.index(r.target)) for r in c.rivals]
        assert found == sorted(crossing)[:3]


def test_no_pair_names_the_best_one():
    with pytest.raises(XmgError, match=r"no pair found: .* 'b' and 'd' with 0\.400.*fix: lower"):
        mine(["a", "b"], ["c", "d"], symmetric(4, (1, 3, 0.4)), min_similarity=0.5)


def test_inputs_that_cannot_be_mined():
    with pytest.raises(XmgError, match="the target has no classes"):
        mine(["a"], [], np.eye(1), min_similarity=0.5)
    with pytest.raises(XmgError, match="'b' to others is not finite"):
        mine(["a"], ["b"], np.array([[1, 0], [0, np.nan]]), min_similarity=0.5)
    with pytest.raises(ValueError, match="needed is"):
        mine(["a"], ["b"], np.eye(3), min_similarity=0.5)


def test_by_vectors():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    x[2] = 0
    found = by_vectors(["a", "bee", "c", "Bees"], x, "toy")
    naive = x[0] @ x[1] / np.sqrt((x[0] @ x[0]) * (x[1] @ x[1]))
    npt.assert_allclose(found.values[0, 1], naive, rtol=1e-6)
    npt.assert_array_equal(found.values[2], [0, 0, 1, 0])
    assert found.values[1, 3] == 1  # the same word
    assert found.unknown == ("c",) and "toy" in found.measure
    x[1, 0] = np.nan
    with pytest.raises(XmgError, match=r"'b' a vector that is not finite.*fix: --encoder"):
        by_vectors(["a", "b", "c", "d"], x, "toy")
    with pytest.raises(ValueError, match="as many vectors"):
        by_vectors(["a"], x, "toy")


@given(NAMES, NAMES, st.integers(0, 99))
def test_any_names_survive_the_file(tmp_path_factory, source, target, seed):
    n = len(source) + len(target)
    values = np.random.default_rng(seed).random((n, n))
    similarity = Similarity(values, "a toy\nmeasure", (source[0],), lambda s, t: f"{s}\r{t}")
    concepts = mine(source, target, values, min_similarity=0)
    text = concepts_toml(concepts, similarity, source, target, "xmg\n[concept]")
    path = tmp_path_factory.mktemp("toml") / "c.toml"
    write_text(path, text, overwrite=False)
    read = read_concepts(path)
    assert read.source == {c.name: list(c.source) for c in concepts}
    assert read.target == {c.name: list(c.target) for c in concepts}
    with pytest.raises(XmgError, match=r"exists\. fix: --overwrite"):
        write_text(path, "", overwrite=False)


def test_comments_tell_why():
    values = symmetric(4, (0, 2, 0.9), (1, 2, 0.3))
    similarity = Similarity(values, "toy", ("car",), lambda s, t: "both animals")
    concepts = mine(["cat", "car"], ["meow", "rain"], values, min_similarity=0.5)
    text = concepts_toml(concepts, similarity, ["cat", "car"], ["meow", "rain"], "xmg pair")
    assert '# link "cat" - "meow" 0.900: both animals' in text
    assert '# rival "car" - "meow" 0.300' in text
    assert "# Source classes without a partner: car" in text
    assert "which are held out: rain" in text and "# Unknown to the measure: car" in text
    assert tomllib.loads(text) == {"concept": {"cat": {"source": ["cat"], "target": ["meow"]}}}


def test_table_csv():
    assert table_csv(("id", "set"), [("a,b", 0), ('"', 1)]) == 'id,set\n"a,b",0\n"""",1\n'
