import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import XmgError, decode
from xmg.cache.pairs import (
    check_disjoint,
    class_numbers,
    concept_sets,
    group_pairs,
    join_ids,
    read_concepts,
    read_pairs,
)

NAMES = st.lists(st.text("ab é猫", min_size=1, max_size=3), min_size=1, max_size=8, unique=True)

CONCEPTS = """
validation = ["rain"]
test = ["cow"]
[concept.dog]
source = ["dog", "dalmatian"]
target = ["dog_bark"]
[concept.cat]
source = ["cat"]
target = ["cat_meow"]
"""


def some_file(path, ids, labels=None):
    return synthetic.write(path, np.ones((len(ids), 2)), labels or [None] * len(ids), ids)


@given(NAMES, NAMES)
def test_join_ids_twin(tmp_path_factory, left, right):
    folder = tmp_path_factory.mktemp("join")
    source, target = some_file(folder / "s.h5", left), some_file(folder / "t.h5", right)
    place = {name: i for i, name in enumerate(right)}
    twin = [(i, place[n]) for n, i in sorted((n, i) for i, n in enumerate(left)) if n in place]
    if twin:
        assert list(zip(*map(np.ndarray.tolist, join_ids(source, target)), strict=True)) == twin
    else:
        with pytest.raises(XmgError, match=r"none occurs in both.*\n.*--concepts"):
            join_ids(source, target)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_group_pairs_twin(keys):
    source, target = np.arange(len(keys)), np.arange(len(keys)) + 100
    sets = group_pairs(source, target, keys)
    assert sets.names == tuple(sorted(set(keys)))
    assert len(sets) == len(set(keys))
    for s, name in enumerate(sets.names):
        own = [i for i, key in enumerate(keys) if key == name]
        found = slice(sets.source_offsets[s], sets.source_offsets[s + 1])
        assert sets.source_rows[found].tolist() == own
        found = slice(sets.target_offsets[s], sets.target_offsets[s + 1])
        assert sets.target_rows[found].tolist() == [i + 100 for i in own]


@pytest.fixture
def modalities(tmp_path):
    pictures = ["cat", "dalmatian", "dog", "fish"] * 2
    sounds = ["cat_meow", "cow", "dog_bark", "rain"] * 3
    source = some_file(tmp_path / "s.h5", [f"p{i}" for i in range(8)], pictures)
    return source, some_file(tmp_path / "t.h5", [f"t{i}" for i in range(12)], sounds)


def concepts_of(tmp_path, text):
    path = tmp_path / "concepts.toml"
    path.write_text(text, encoding="utf-8")
    return read_concepts(path)


def test_concepts(tmp_path, modalities):
    concepts = concepts_of(tmp_path, CONCEPTS)
    assert (concepts.validation, concepts.test) == (["rain"], ["cow"])
    sets = concept_sets(concepts, *modalities)
    assert sets.names == ("dog", "cat")
    assert sets.source_offsets.tolist() == [0, 4, 6]
    assert sets.source_rows.tolist() == [2, 6, 1, 5, 0, 4]
    assert sets.target_offsets.tolist() == [0, 3, 6]
    assert sets.target_rows.tolist() == [2, 6, 10, 0, 4, 8]


def test_a_class_named_twice_in_one_concept_counts_once(tmp_path, modalities):
    text = CONCEPTS.replace('"dalmatian"', '"dog"')
    assert concept_sets(concepts_of(tmp_path, text), *modalities).source_offsets[1] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concept = [", "not a readable TOML"),
        ("", "names no concept"),
        ("concept = 3", "names no concept"),
        ("[concept.dog]\nsource = ['dog']", "concept 'dog' needs a non-empty list `target"),
        ("[concept.dog]\nsource = []\ntarget = ['x']", "needs a non-empty list `source"),
        ("[concept]\ndog = 3", "concept 'dog' needs"),
        ("[concept.dog]\nsource = 'dog'\ntarget = ['x']", r"`concept\.dog\.source` must be a list"),
        ("[concept.dog]\nsource = [1]\ntarget = ['x']", r"`concept\.dog\.source` must be a list"),
        ("test = 'cow'\n" + CONCEPTS.split("\n", 3)[3], "`test` must be a list"),
    ],
)
def test_concepts_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(XmgError, match=message) as caught:
        concepts_of(tmp_path, text)
    assert "concepts.toml" in str(caught.value)


def test_concepts_of_another_encoding_and_missing_ones(tmp_path):
    for code in ("latin-1", "utf-16"):
        (tmp_path / "latin.toml").write_text("# größe", code)
        with pytest.raises(XmgError, match=r"not a readable TOML .* fix: save it as UTF-8"):
            read_concepts(tmp_path / "latin.toml")
    with pytest.raises(XmgError, match="no concepts file at"):
        read_concepts(tmp_path / "absent.toml")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "notepad.toml").write_text(CONCEPTS.replace("\n", "\r\n"), "utf-8-sig", newline="")
    assert read_concepts(tmp_path / "notepad.toml").test == ["cow"]


def test_nothing_is_too_deep(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 9999)
    with pytest.raises(XmgError, match="not a readable TOML"):
        read_concepts(tmp_path / "deep.toml")


def test_an_unknown_class_gets_the_closest_named(tmp_path, modalities):
    concepts = concepts_of(tmp_path, CONCEPTS.replace("dalmatian", "dalmation"))
    with pytest.raises(XmgError, match=r"concept 'dog', .*'dalmation'.*closest is 'dalmatian'"):
        concept_sets(concepts, *modalities)


def test_a_class_in_two_concepts(tmp_path, modalities):
    concepts = concepts_of(tmp_path, CONCEPTS.replace("cat_meow", "dog_bark"))
    with pytest.raises(XmgError, match="'dog_bark' is in both 'dog' and 'cat'"):
        concept_sets(concepts, *modalities)


def test_files_in_the_wrong_order(tmp_path, modalities):
    with pytest.raises(XmgError, match=r"concepts\.toml: .* the other way round\. fix: name the"):
        concept_sets(concepts_of(tmp_path, CONCEPTS), *reversed(modalities))


def test_class_numbers(modalities):
    assert class_numbers(["fish", "cat"], modalities[0], "here") == [3, 0]
    assert decode(modalities[0].array("classes")) == modalities[0].classes


@pytest.fixture
def sides(tmp_path):
    x = np.ones((3, 2)) * np.arange(3)[:, None]
    source = synthetic.write(tmp_path / "s.h5", x, ["a", "a", "b"], ["photo1", "photo2", "foto,3"])
    target = synthetic.write(tmp_path / "t.h5", x, ["a", "a", "b"], ["clip1", "clip2", "klip3"])
    return source, target


def test_a_table_of_pairs(tmp_path, sides):
    table = tmp_path / "p.csv"
    lines = ["set,target_id,source_id", "x,clip2,photo1", 'y,klip3,"foto,3"', "x,clip1,photo1"]
    table.write_text("\ufeff" + "\n".join(lines))
    source, target, names = read_pairs(table, *sides)
    assert (source.tolist(), target.tolist(), names) == ([0, 2, 0], [1, 2, 0], ["x", "y", "x"])
    sets = group_pairs(source, target, names)
    check_disjoint(sets, *sides)
    assert (sets.names, sets.target_offsets.tolist()) == (("x", "y"), [0, 2, 3])
    table.write_text("source_id,target_id\nphoto2,clip1\n")
    assert read_pairs(table, *sides)[2] is None
    with pytest.raises(XmgError, match=r"p\.csv: .* the other way round\. fix: name the"):
        read_pairs(table, *reversed(sides))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "not a readable CSV"),
        ("source_id,target_id\n", "has no pairs with source_id and target_id.*fix: columns"),
        ("source_id,set\nphoto1,a\n", "has no pairs with target_id"),
        ("source_id,target_id\nphoto1,clip1\nphoto,clip1\n", "pair 2 names the source_id 'photo'"),
        ("source_id,target_id\nphoto1\n", "pair 1 names the target_id None"),
        ("source_id,target_id,set\nphoto1,clip1,\n", "pair 1 has no set. fix"),
        ('source_id,target_id\n"photo1,clip1\n', "not a readable CSV"),
    ],
)
def test_a_table_of_pairs_that_says_nothing(tmp_path, sides, text, message):
    if text is not None:
        (tmp_path / "p.csv").write_text(text)
    with pytest.raises(XmgError, match=message):
        read_pairs(tmp_path / "p.csv", *sides)


@pytest.mark.parametrize(
    ("source", "target", "name"), [([0, 0], [0, 1], "photo1"), ([0, 1], [2, 2], "klip3")]
)
def test_a_row_in_two_sets(sides, source, target, name):
    sets = group_pairs(np.array(source), np.array(target), ["x", "y"])
    with pytest.raises(XmgError, match=f"'{name}' of .* is paired in two sets, 'x' and 'y'.*fix"):
        check_disjoint(sets, *sides)
