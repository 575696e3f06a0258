import inspect
import re

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from xmg.cache import FeatureFile, XmgError, decode, from_arrays
from xmg.engine import train
from xmg.engine.data.problem import open_problem
from xmg.engine.training import advance

CONCEPTS = """
{held}
[concept.one]
source = ["c00", "c01"]
target = ["c00"]
[concept.two]
source = ["c02"]
target = ["c01", "c02"]
"""
HELD = 'validation = ["c03", "c04", "c05"]\ntest = ["c06", "c07", "c08"]'


@pytest.fixture
def strong(tmp_path):
    return synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)


def opened(files, **settings):
    return open_problem(synthetic.config_of(*files, **settings))


def classes_of(file, rows):
    return {file.classes[c] for c in file.labels[rows]}


def weak_config(tmp_path, files, held=HELD, text=CONCEPTS, **settings):
    path = tmp_path / "concepts.toml"
    path.write_text(text.format(held=held))
    return synthetic.config_of(*files, concepts=path, **settings)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sets", ["label", "id"])
def test_strong_split(strong, seed, sets):
    source, target = strong
    problem = opened(strong, seed=seed, sets=sets)
    held = [*problem.validation.target.classes, *problem.test.target.classes]
    assert len(set(held)) == len(held) == 6
    paired = problem.train.sets
    kept = set(source.classes) - set(held)
    assert classes_of(source, problem.train.source.rows) == kept
    assert set(problem.train.source.classes) == kept
    assert classes_of(source, paired.source_rows) == kept
    assert classes_of(target, paired.target_rows) == kept
    assert source.ids[paired.source_rows].tolist() == target.ids[paired.target_rows].tolist()
    assert len(paired) == (4 if sets == "label" else 48)
    assert classes_of(target, problem.test.target.rows) == set(problem.test.target.classes)


def test_splits_follow_the_seed(strong):
    found = {opened(strong, seed=seed).test.target.classes for seed in (0, 0, 1, 2)}
    assert len(found) == 3


def test_a_pair_is_held_out_by_either_label(tmp_path):
    """Targets of odd rows are unlabelled, sources of rows 0, 4, ...: the other label decides."""
    names = synthetic.names(8, 20)
    x = np.random.default_rng(0).normal(size=(160, 3))
    source = synthetic.write(
        tmp_path / "s.h5", x, [None if i % 4 == 0 else n for i, n in enumerate(names)]
    )
    target = synthetic.write(
        tmp_path / "t.h5", x, [None if i % 2 else n for i, n in enumerate(names)]
    )
    problem = opened((source, target), sets="id", n_way=2)
    held = {*problem.validation.target.classes, *problem.test.target.classes}
    paired = [int(i[2:]) for i in decode(source.ids[problem.train.sets.source_rows])]
    assert {names[i] for i in paired} == set(names) - held
    assert len(paired) == 80


def test_another_vocabulary_on_the_source_side(tmp_path):
    x = np.random.default_rng(0).normal(size=(120, 3))
    topics = ["news", "sport", "weather"] * 40
    source = synthetic.write(tmp_path / "s.h5", x, topics)
    target = synthetic.write(tmp_path / "t.h5", x, synthetic.names(10, 12))
    problem = opened((source, target))
    held = {*problem.validation.target.classes, *problem.test.target.classes}
    assert problem.train.sets.names == ("news", "sport", "weather")
    assert not classes_of(target, problem.train.sets.target_rows) & held
    paired = np.flatnonzero(np.isin(target.labels, [target.classes.index(c) for c in held]))
    assert len(problem.train.source.rows) and not np.isin(problem.train.source.rows, paired).any()
    assert source.path == problem.train.source.file.path


def test_a_source_class_of_held_out_pairs_alone_is_unseen_under_any_name(tmp_path):
    x = np.random.default_rng(0).normal(size=(180, 3))
    labels = synthetic.names(10, 12) + synthetic.names(10, 6)  # the last 60 have no partner
    images = [name.replace("c", "image") for name in labels]
    source = synthetic.write(tmp_path / "s.h5", x, images)
    target = synthetic.write(tmp_path / "t.h5", x[:120], labels[:120])
    problem = opened((source, target))
    held = {*problem.validation.target.classes, *problem.test.target.classes}
    assert set(problem.train.source.classes) == {
        name.replace("c", "image") for name in target.classes if name not in held
    }


def test_a_rare_source_class_stops_nothing(tmp_path, strong):
    x = np.random.default_rng(0).normal(size=(121, strong[0].dim))
    labels = [*synthetic.names(10, 12), "rare"]
    source = synthetic.write(tmp_path / "rare.h5", x, labels, [*decode(strong[0].ids), "alone"])
    assert "rare" not in opened((source, strong[1])).train.source.classes


def test_weak_split(tmp_path, strong):
    _, target = strong
    problem = open_problem(weak_config(tmp_path, strong))
    assert problem.train.sets.names == ("one", "two")
    assert classes_of(target, problem.train.sets.target_rows) == {"c00", "c01", "c02"}
    assert problem.train.source.classes == ("c00", "c01", "c02", "c09")  # not the held-out names
    assert problem.validation.target.classes == ("c03", "c04", "c05")
    assert problem.test.target.classes == ("c06", "c07", "c08")


def test_weak_split_drawn_from_the_classes_outside_all_concepts(tmp_path, strong):
    problem = open_problem(weak_config(tmp_path, strong, held=""))
    held = [*problem.validation.target.classes, *problem.test.target.classes]
    assert sorted(held) == [f"c{c:02d}" for c in range(3, 10)]
    assert len(problem.validation.target.classes) == 3


def test_training_functions_receive_no_test_part():
    private = [train._begin, train._loop, advance.advancing, advance._batches]
    for function in private:
        assert not {"Problem", "MetaTest", "problem"} & {
            str(getattr(p.annotation, "__name__", p.annotation))
            for p in inspect.signature(function).parameters.values()
        }


def rewritten(tmp_path, file, labels, ids=None):
    return synthetic.write(tmp_path / "other.h5", file.features, labels, ids or decode(file.ids))


def test_labels_do_not_match(tmp_path, strong):
    labels = synthetic.names(10, 12)
    labels[5], labels[30] = "c07", "c08"
    other = rewritten(tmp_path, strong[1], labels)
    with pytest.raises(XmgError, match=r"labels don't match: 'id00005' is 'c00'.*'c07'.*2 such"):
        opened((strong[0], other))


def test_no_common_id(tmp_path, strong):
    other = rewritten(tmp_path, strong[1], synthetic.names(10, 12), [f"x{i}" for i in range(120)])
    with pytest.raises(XmgError, match=r"no pairs: .*'id00000'.*'x0'"):
        opened((strong[0], other))


def test_too_few_classes_to_hold_out(strong):
    with pytest.raises(XmgError, match=r"(?s)has 10 classes, and holding out 5.*fix: --n-way 3 "):
        opened(strong, n_way=5)


def test_too_few_source_classes(tmp_path, strong):
    other = rewritten(tmp_path, strong[0], ["few" if i % 2 else "er" for i in range(120)])
    with pytest.raises(XmgError, match=r"(?s)3-way.*has 2 classes left of 5.*fix: --n-way 2 "):
        opened((other, strong[1]))


def test_too_few_test_classes(tmp_path, strong):
    config = weak_config(tmp_path, strong, HELD.replace(', "c08"', ""))
    with pytest.raises(
        XmgError, match=r"(?s)meta-test has 2 classes of .*target\.h5.*fix: --n-way 2 "
    ):
        open_problem(config)


def test_too_few_samples(strong):
    with pytest.raises(XmgError, match=r"class 'c\d\d' of .* has 12 rows, and meta-.* needs 13"):
        opened(strong, n_query=10)
    with pytest.raises(XmgError, match=r"(?s)has 0 classes left of 13.*fix: k_shot = 12 in"):
        opened(strong, k_shot=13)


def options(error):
    """The settings that a message says to type."""
    words = error.partition("fix: ")[2]
    found = dict(re.findall(r"--(n-way|n-query|shots|sets) (\w+(?:,\w+)*)", words))
    found |= dict(re.findall(r"(k_shot) = (\d+) in a --config file", words))
    return {
        name.replace("-", "_"): value.split(",") if name == "shots" else value
        for name, value in found.items()
    }


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    n_classes=st.integers(6, 12), per_class=st.integers(2, 9), n_way=st.integers(2, 6),
    n_query=st.integers(1, 10), k_shot=st.integers(1, 10),
    shots=st.sampled_from([(1,), (5,), (5, 1, 10)]),
    gradient=st.sampled_from(["reptile", "fomaml"]),
)  # fmt: skip
def test_what_is_too_small_is_told_at_once_with_a_fix_that_works(
    tmp_path_factory, n_classes, per_class, n_way, n_query, k_shot, shots, gradient
):
    files = synthetic.write_pair(
        tmp_path_factory.mktemp("small"), n_classes=n_classes, per_class=per_class, latent=4, dim=6
    )
    wanted = {"n_way": n_way, "n_query": n_query, "k_shot": k_shot, "shots": shots}
    wanted["meta_gradient"] = gradient
    try:
        opened(files, **wanted)
    except XmgError as error:
        found = options(str(error))
        assert found
        opened(files, **{**wanted, **found})


def test_a_file_is_not_its_own_target(tmp_path, strong):
    link, copy = tmp_path / "link.h5", tmp_path / "copy.h5"
    link.symlink_to(strong[0].path)
    copy.write_bytes(strong[0].path.read_bytes())
    for target in (strong[0], FeatureFile(link)):
        with pytest.raises(XmgError, match=r"as source and as target\. fix"):
            opened((strong[0], target))
    assert opened((strong[0], FeatureFile(copy)))  # one modality, seen twice


@pytest.mark.parametrize("side", [0, 1])
def test_a_file_without_labels_is_named(tmp_path, strong, side):
    file, files = strong[side], [*strong]
    ids = [name.decode() for name in file.ids]
    files[side] = from_arrays(tmp_path / "bare.h5", file.features, ids=ids, encoder="e")
    with pytest.raises(XmgError, match=r"bare\.h5 has no labelled rows.*fix: extract it with"):
        opened((files[0], files[1]))


def test_one_set_has_no_negatives(tmp_path, strong):
    text = CONCEPTS.split("[concept.two]", maxsplit=1)[0]
    with pytest.raises(XmgError, match=r"(?s)form a single set.*extract more"):
        open_problem(weak_config(tmp_path, strong, text=text))


@pytest.mark.parametrize("name", ["c00", "c03"])
def test_a_held_out_class_is_listed_elsewhere(tmp_path, strong, name):
    held = HELD.replace("c06", name)
    with pytest.raises(XmgError, match=f"held-out class '{name}' is listed elsewhere"):
        open_problem(weak_config(tmp_path, strong, held))


def test_a_concept_borrows_no_held_out_class(tmp_path, strong):
    """Source samples under the name of a held-out class would tell what the class is like."""
    text = CONCEPTS.replace("source = [", 'source = ["c06", ', 1)
    with pytest.raises(XmgError, match=r"'c06' is held out, and concept 'one' trains on .*fix"):
        open_problem(weak_config(tmp_path, strong, text=text))
    for seed in range(5):
        problem = open_problem(weak_config(tmp_path, strong, held="", text=text, seed=seed))
        held = {*problem.validation.target.classes, *problem.test.target.classes}
        assert held and "c06" not in held


def test_an_unknown_held_out_class(tmp_path, strong):
    with pytest.raises(XmgError, match=r"concepts\.toml names the class 'c0x'.*closest is 'c0"):
        open_problem(weak_config(tmp_path, strong, HELD.replace("c06", "c0x")))


def test_unlabelled_pairs_form_no_sets_by_label(tmp_path, strong):
    labels = [None if i % 12 == 5 else n for i, n in enumerate(synthetic.names(10, 12))]
    other = rewritten(tmp_path, strong[0], labels)
    with pytest.raises(XmgError, match=r"'id\d+' of .*other\.h5 has no label.*fix: --sets id"):
        opened((other, strong[1]))
    assert len(opened((other, strong[1]), sets="id").train.sets) == 48


@pytest.mark.parametrize("side", [0, 1])
def test_sequences(tmp_path, strong, side):
    parts = [np.ones((2, 3))] * 120
    frames = synthetic.write(tmp_path / "f.h5", parts, synthetic.names(10, 12), sequences=True)
    files = [*strong]
    files[side] = frames
    with pytest.raises(XmgError, match=r"f\.h5 holds sequences of frames"):
        opened(files)


def test_pairs_by_a_table_are_pairs_by_id(tmp_path, strong):
    """Of files whose ids differ, with sets by label."""
    source, target = strong
    names = decode(source.ids)
    other = synthetic.write(
        tmp_path / "other.h5", target.features, synthetic.names(10, 12), [f"t-{n}" for n in names]
    )
    table = tmp_path / "pairs.csv"
    table.write_text("source_id,target_id\n" + "".join(f"{n},t-{n}\n" for n in names))
    by_table, by_id = opened((source, other), pairs=table), opened(strong)
    assert by_table.train.sets.names == by_id.train.sets.names
    for side in ("source_rows", "target_rows", "source_offsets", "target_offsets"):
        npt.assert_array_equal(getattr(by_table.train.sets, side), getattr(by_id.train.sets, side))
    npt.assert_array_equal(by_table.train.source.rows, by_id.train.source.rows)


def test_a_source_row_of_a_held_out_pair_serves_no_other_pair(tmp_path, strong):
    """Each source row is paired with two target rows, of the next class too."""
    _, target = strong
    names, x = decode(target.ids), np.random.default_rng(0).normal(size=(120, 3))
    topics = [f"topic {i % 12}" for i in range(120)]
    other = synthetic.write(tmp_path / "other.h5", x, topics, names)
    lines = [f"{names[i]},{names[j % 120]},{i % 12}" for i in range(120) for j in (i, i + 12)]
    (tmp_path / "pairs.csv").write_text("\n".join(["source_id,target_id,set", *lines]))
    problem = opened((other, target), pairs=tmp_path / "pairs.csv", k_shot=1)
    held = {*problem.validation.target.classes, *problem.test.target.classes}
    labels = [int(name[1:]) for name in held]
    away = {i for i in range(120) if i // 12 in labels or (i + 12) % 120 // 12 in labels}
    assert not away & set(problem.train.sets.source_rows.tolist())
    assert not away & set(problem.train.source.rows.tolist())
    assert len(problem.train.sets) == 12 and len(problem.train.sets.source_rows)


def test_pairs_and_concepts_exclude_one_another(tmp_path, strong):
    with pytest.raises(XmgError, match="give one of them"):
        opened(strong, pairs=tmp_path / "p.csv", concepts=tmp_path / "c.toml")
