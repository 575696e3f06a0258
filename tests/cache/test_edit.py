"""Joining files and taking parts of one, against plain lists of rows."""

import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import NAMES, read, tables, write

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, Reject, XmgError
from xmg.cache.edit import merge, select
from xmg.cache.names import closest
from xmg.cache.verify import damages


def row(name, x=(1.0, 2.0), label="dog", **columns):
    return {"id": name, "x": x if x is None else list(x), "label": label, "columns": columns}


def merge_twin(*parts):
    """Rows, and rejects, of the files of `parts` end to end."""
    columns = {name for part in parts for r in part for name in r["columns"]}
    rows = [r for part in parts for r in part if r["x"] is not None]
    kept = {r["id"] for r in rows}
    rejects = {r["id"] for part in parts for r in part if r["x"] is None} - kept
    joined = [{**r, "columns": dict.fromkeys(columns, "") | r["columns"]} for r in rows]
    return joined, rejects


@settings(max_examples=20)
@given(st.booleans().flatmap(lambda s: st.tuples(st.just(s), *[tables(s)] * 3)))
def test_merge_twin(case):
    sequences, *parts = case
    for number, part in enumerate(parts):
        for r in part:
            r["id"] = f"{number}/{r['id']}" if r["x"] is not None else f"rejected/{r['id']}"
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.h5" for number in range(3)]
        files = [write(p, r, sequences=sequences) for p, r in zip(paths, parts, strict=True)]
        whole = merge(files, Path(folder) / "whole.h5")
        rows, rejects = merge_twin(*parts)
        assert read(whole) == rows
        assert {name for name, _ in whole.rejects} == rejects
        assert all(reason.startswith("no ") for _, reason in whole.rejects)
        assert not list(damages(whole))


@given(tables(), st.data())
def test_select_twin(rows, data):
    ids = data.draw(st.none() | st.lists(st.sampled_from([r["id"] for r in rows]), min_size=1))
    present = sorted({r["label"] for r in rows if r["label"]})
    classes = (
        data.draw(st.none() | st.lists(st.sampled_from(present), min_size=1)) if present else None
    )
    chosen = [
        r
        for r in rows
        if (ids is None or r["id"] in ids) and (classes is None or r["label"] in classes)
    ]
    kept = [r for r in chosen if r["x"] is not None]
    with tempfile.TemporaryDirectory() as folder:
        file, out = write(Path(folder) / "a.h5", rows), Path(folder) / "part.h5"
        if not kept or (ids is None and classes is None):
            with pytest.raises(XmgError, match=r"no row is left|a selection takes"):
                select(file, out, ids=ids, classes=classes)
            return
        part = select(file, out, ids=ids, classes=classes)
        assert read(part) == kept
        rejects = [r["id"] for r in chosen if r["x"] is None] if ids else []
        assert [name for name, _ in part.rejects] == rejects


@settings(max_examples=20)
@given(st.booleans().flatmap(lambda s: st.tuples(st.just(s), tables(s, rejects=False))), st.data())
def test_parts_merge_back_to_the_same_rows(case, data):
    sequences, rows = case
    cut = data.draw(st.integers(0, len(rows)))
    names = [r["id"] for r in rows]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = write(folder / "a.h5", rows, sequences=sequences, contents=True)
        if cut in (0, len(rows)):
            return
        head = select(file, folder / "head.h5", ids=names[:cut])
        tail = select(file, folder / "tail.h5", ids=names[cut:])
        whole = merge([head, tail], folder / "whole.h5")
        assert read(whole) == read(file)
        assert whole.path.read_bytes() == file.path.read_bytes()


def test_contents_are_kept_where_all_have_them(tmp_path):
    a = write(tmp_path / "a.h5", [row("a"), row("x", None, None)], contents=True)
    b = write(tmp_path / "b.h5", [row("b")], contents=True)
    c = write(tmp_path / "c.h5", [row("c")])
    both = merge([a, b], tmp_path / "ab.h5")
    np.testing.assert_array_equal(both.contents, [a.contents[0], b.contents[0]])
    assert merge([a, b, c], tmp_path / "abc.h5").contents.shape == (0, 2)


def test_names_of_different_data_sets_are_joined(tmp_path):
    other = replace(synthetic.SPEC, dataset="other")
    files = [
        write(tmp_path / f"{i}.h5", [row(str(i))], spec)
        for i, spec in enumerate([synthetic.SPEC, other, synthetic.SPEC])
    ]
    assert merge(files, tmp_path / "m.h5").dataset == "toy+other"
    assert merge(files[::2], tmp_path / "n.h5").dataset == "toy"


def test_a_reject_that_is_a_row_elsewhere_is_none(tmp_path):
    a = write(tmp_path / "a.h5", [row("a"), row("b", None, None), row("c", None, None)])
    b = write(tmp_path / "b.h5", [row("b"), row("c", None, None)])
    whole = merge([a, b], tmp_path / "m.h5")
    assert [r["id"] for r in read(whole)] == ["a", "b"]
    assert whole.rejects == [("c", "no c")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": "some"}, 'encoder is "some", would be "none"'),
        ({"weights_sha256": "ff"}, "weights_sha256"),
        ({"preprocessing": {"scale": 2}}, "preprocessing.scale is 2, would be 1"),
        ({"versions": {"numpy": "3"}}, "versions.numpy"),
    ],
)
def test_merge_names_what_made_them_differ(tmp_path, change, message):
    a = write(tmp_path / "a.h5", [row("a")])
    b = write(tmp_path / "b.h5", [row("b")], replace(synthetic.SPEC, **change))
    with pytest.raises(XmgError, match=message) as caught:
        merge([a, b], tmp_path / "m.h5")
    assert "b.h5 cannot join" in str(caught.value) and not (tmp_path / "m.h5").exists()


def test_merge_names_how_their_rows_differ(tmp_path):
    a = write(tmp_path / "a.h5", [row("a")])
    half = write(tmp_path / "half.h5", [row("b")], dtype="float16")
    wide = write(tmp_path / "wide.h5", [row("b", [1.0, 2, 3])], dim=3)
    frames = write(tmp_path / "s.h5", [row("b", [[1.0, 2]])], sequences=True)
    for file, message in ((half, 'dtype is "float16"'), (wide, "dim is 3"), (frames, "sequences")):
        with pytest.raises(XmgError, match=message):
            merge([a, file], tmp_path / "m.h5")
    with pytest.raises(XmgError, match="two files or more"):
        merge([a], tmp_path / "m.h5")


def test_equal_ids_are_named_with_both_files(tmp_path):
    a = write(tmp_path / "a.h5", [row("a"), row("狗/1")])
    b = write(tmp_path / "b.h5", [row("b")])
    c = write(tmp_path / "c.h5", [row("狗/1")])
    with pytest.raises(XmgError, match=r"a\.h5 and .*c\.h5 both hold the id '狗/1'"):
        merge([a, b, c], tmp_path / "m.h5")
    with pytest.raises(XmgError, match="both hold the id 'a'"):
        merge([a, a], tmp_path / "m.h5")


def test_the_same_again_is_a_no_op_and_other_rows_are_refused(tmp_path):
    a, b = (write(tmp_path / f"{i}.h5", [row(i)], contents=True) for i in "ab")
    out, said = tmp_path / "m.h5", []
    first = merge([a, b], out).path.stat().st_mtime_ns
    assert merge([a, b], out, notify=said.append).path.stat().st_mtime_ns == first
    assert "nothing to do" in said[0]
    with pytest.raises(XmgError, match="come in another order"):
        merge([b, a], out)
    with pytest.raises(XmgError, match="1 input is gone"):
        select(a, out, ids=["a"])
    assert [r["id"] for r in read(merge([b, a], out, overwrite=True))] == ["b", "a"]
    assert [
        r["id"] for r in read(merge([b, write(a.path, [row("c")])], b.path, overwrite=True))
    ] == [
        "b",
        "c",
    ]


def test_what_is_no_feature_file_stays(tmp_path):
    a = write(tmp_path / "a.h5", [row("a")])
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(XmgError, match="is no feature file, and stays"):
        select(a, tmp_path / "note.txt", ids=["a"], overwrite=True)
    with pytest.raises(XmgError, match="is a folder"):
        select(a, tmp_path, ids=["a"], overwrite=True)
    (tmp_path / "cut.h5").write_bytes(a.path.read_bytes()[:3000])
    with pytest.raises(XmgError, match="--overwrite"):
        select(a, tmp_path / "cut.h5", ids=["a"])
    assert len(select(a, tmp_path / "cut.h5", ids=["a"], overwrite=True)) == 1


def test_select_names_the_closest(tmp_path):
    file = write(tmp_path / "a.h5", [row(f"{n}/1", label=n) for n in NAMES[:5]])
    with pytest.raises(XmgError, match="lacks the class 'dogs'; the closest is 'dog'"):
        select(file, tmp_path / "o.h5", classes=["狗", "dogs"])
    with pytest.raises(XmgError, match=r"the id '狗/2'; the closest is '狗/1'; 2 are unknown"):
        select(file, tmp_path / "o.h5", ids=["狗/2", "x"])


def test_the_closest_of_many_and_of_letters_composed_otherwise():
    many = [f"photo{i:06d}" for i in range(50_000)]
    assert closest("photo0314159", many) == "; the closest is 'photo031459'"
    assert closest("\u00e9t\u00e9", ["e\u0301te\u0301"]) == r"; the closest is 'e\u0301te\u0301'"
    assert closest("a", []) == ""


@pytest.mark.parametrize("sequences", [False, True])
def test_memory_stays_flat(tmp_path, sequences):
    """Files of 64 MB in all, blocks of 16 MiB."""
    frames = np.ones((1000, 8, 1000), np.float32)
    rows = frames if sequences else frames.reshape(8000, 1000)
    files = [
        synthetic.write(
            tmp_path / f"{part}.h5",
            list(rows) if sequences else rows,
            ["a", "b"] * (len(rows) // 2),
            [f"{part}/{i}" for i in range(len(rows))],
            sequences=sequences,
        )
        for part in range(2)
    ]
    del frames, rows
    tracemalloc.start()
    whole = merge(files, tmp_path / "m.h5")
    select(whole, tmp_path / "a.h5", classes=["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_damaged_file_is_not_copied_under_good_checksums(tmp_path):
    good = synthetic.write(tmp_path / "good.h5", np.ones((3, 2)), "abc", "xyz")
    bad = synthetic.write(tmp_path / "bad.h5", np.ones((3, 2)), "abc", "uvw")
    content = bytearray(bad.path.read_bytes())
    content[bad.extents["features"][0] + 3] ^= 4
    bad.path.write_bytes(content)
    bad = FeatureFile(bad.path)
    said = r"bad\.h5 is damaged: features, rows 0 to 2"
    with pytest.raises(XmgError, match=said):
        merge([good, bad], tmp_path / "out.h5")
    with pytest.raises(XmgError, match=said):
        select(bad, tmp_path / "out.h5", classes=["a"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.h5", "good.h5"]


def test_a_part_of_features_that_stand_side_by_side(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    spec = FeatureSpec(dataset="d", encoder="e", weights_sha256="", versions={},
                       preprocessing={"rate": 1, "parts": {"a": 1, "b": 3, "c": 2}})  # fmt: skip
    listing = Listing([*"pqrs", "bad"], ["x", "y", "x", None, None])
    with FeatureWriter(tmp_path / "all.h5", spec, listing, 6, dtype="float32") as writer:
        writer.put(0, [*x, Reject("no")])
    file = select(FeatureFile(tmp_path / "all.h5"), tmp_path / "b.h5", part="b")
    npt.assert_array_equal(file.features, x[:, 1:4])
    assert dict(file.spec.preprocessing) == {"rate": 1, "part": "b"}
    assert file.rejects == [("bad", "no")]
    some = select(FeatureFile(tmp_path / "all.h5"), tmp_path / "c.h5", part="c", classes=["x"])
    npt.assert_array_equal(some.features, x[[0, 2], 4:])
    with pytest.raises(XmgError, match="lacks the part 'd'"):
        select(FeatureFile(tmp_path / "all.h5"), tmp_path / "d.h5", part="d")
    with pytest.raises(XmgError, match="has no parts"):
        select(file, tmp_path / "d.h5", part="a")
