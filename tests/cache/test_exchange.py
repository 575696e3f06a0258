"""Features of other programs: arrays, .npy with a CSV, Parquet and Arrow."""

import builtins
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import NAMES, read, tables, write

from xmg.cache import FeatureSpec, XmgError, decode, from_arrays
from xmg.cache.exchange.arrow import read_arrow
from xmg.cache.exchange.export import export
from xmg.cache.exchange.npy import read_npy
from xmg.cache.verify import damages
from xmg.extract.sources.manifest import read_columns

X = np.arange(12, dtype=np.float32).reshape(4, 3)
SUFFIXES = ["npy", "parquet", "arrow", "feather"]


def make(path, features=X, encoder="some", **options):
    return from_arrays(path, features, encoder=encoder, **options)


def back(path, out, notify=print, **options):
    """Import what was exported to `path`, with no more than an encoder's name."""
    if path.suffix == ".npy":
        table = read_npy(path, read_columns(path.with_suffix(".csv")))
    else:
        table = read_arrow(path)
    return from_arrays(
        out, table.rows, encoder=table.spec or "none", ids=table.ids, labels=table.labels,
        columns=table.columns, dtype=table.rows.dtype, notify=notify, **options,
    )  # fmt: skip


@settings(max_examples=20)
@given(
    st.sampled_from(SUFFIXES),
    st.booleans().flatmap(lambda s: st.tuples(st.just(s), tables(s))),
    st.sampled_from(["float16", "float32"]),
)
def test_what_was_exported_comes_back(suffix, case, dtype):
    sequences, rows = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "a folder\nof two lines"
        file = write(folder / "a.h5", rows, dtype=dtype, sequences=sequences)
        path = export(file, folder / f"b {NAMES[3]}.{suffix}")[0]
        again = back(path, folder / "c.h5")
        assert read(again) == read(file)
        assert (again.dtype, again.is_sequence) == (file.dtype, file.is_sequence)
        assert suffix == "npy" or again.spec == file.spec
        assert not list(damages(again))
        drafts = {p.name for p in folder.iterdir()} - {"a.h5", "c.h5", path.name}
        assert drafts <= {path.with_suffix(".csv").name}


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_rows_come_back(tmp_path, suffix, sequences):
    rng = np.random.default_rng(0)
    n = 9000
    features = rng.normal(size=(n, 5)).astype("f4")
    if sequences:
        features = [features[: 1 + i % 4] for i in range(n)]
    labels = [NAMES[i % 5] if i % 7 else None for i in range(n)]
    file = synthetic.write(tmp_path / "a.h5", features, labels, sequences=sequences)
    again = back(export(file, tmp_path / f"b.{suffix}")[0], tmp_path / "c.h5")
    name = "frames" if sequences else "features"
    np.testing.assert_array_equal(again.array(name), file.array(name))
    np.testing.assert_array_equal(again.labels, file.labels)
    np.testing.assert_array_equal(again.ids, file.ids)


def test_exports_are_readable_without_us(tmp_path):
    rows = [{"id": "狗,\n1", "x": [1.0, 2.0], "label": "e\u0301", "columns": {"who": 'a "b"'}},
            {"id": "2", "x": [3.0, 4.0], "label": None, "columns": {"who": ""}}]  # fmt: skip
    file = write(tmp_path / "a.h5", rows, dtype="float16")
    assert export(file, tmp_path / "a.npy") == [tmp_path / "a.npy", tmp_path / "a.csv"]
    assert np.load(tmp_path / "a.npy").dtype == "<f2"
    assert read_columns(tmp_path / "a.csv") == {
        "id": ["狗,\n1", "2"], "label": ["e\u0301", ""], "who": ['a "b"', ""],
    }  # fmt: skip
    export(file, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("features").type.value_type == pa.float16()
    assert table["label"].to_pylist() == ["e\u0301", None]
    assert table["features"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert json.loads(table.schema.metadata[b"xmg"]) == {
        **asdict(synthetic.SPEC), "fingerprint": file.fingerprint,
    }  # fmt: skip
    export(file, tmp_path / "a.feather")
    assert pa.ipc.open_file(tmp_path / "a.feather").read_all().num_rows == 2


def test_exports_never_replace_unasked(tmp_path):
    file = synthetic.write(tmp_path / "a.h5", X, ["a"] * 4)
    (tmp_path / "a.csv").write_text("the manifest")
    with pytest.raises(XmgError, match=r"a\.csv exists"):
        export(file, tmp_path / "a.npy")
    assert {p.name for p in tmp_path.iterdir()} == {"a.h5", "a.csv"}
    export(file, tmp_path / "a.npy", overwrite=True)
    with pytest.raises(XmgError, match="exists"):
        export(file, tmp_path / "a.npy")
    with pytest.raises(XmgError, match=r"ends in none of \.npy, \.parquet"):
        export(file, tmp_path / "a.mat")
    (tmp_path / "b.arrow").mkdir()
    with pytest.raises(XmgError, match="is a folder"):
        export(file, tmp_path / "b.arrow", overwrite=True)


def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    file = synthetic.write(tmp_path / "a.h5", X, ["a"] * 4)

    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xmg.cache.writing.disk.sync", full)
    for suffix in SUFFIXES:
        with pytest.raises(XmgError, match=r"cannot write .*No space left"):
            export(file, tmp_path / f"b.{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_column_called_like_ours_gets_an_underscore(tmp_path):
    columns = {"label": ["x"] * 4, "label_": ["y"] * 4, "n_frames": ["9"] * 4}
    file = synthetic.write(tmp_path / "a.h5", X, ["a"] * 4, columns=columns)
    said = []
    export(file, tmp_path / "a.npy", notify=said.append)
    assert said[0] == "the column 'label' is called 'label__' there"
    again = back(tmp_path / "a.npy", tmp_path / "b.h5")
    assert read(again)[0]["columns"] == {"label_": "y", "label__": "x", "n_frames_": "9"}


def test_without_pyarrow_it_is_named(tmp_path, monkeypatch):
    file = synthetic.write(tmp_path / "a.h5", X, ["a"] * 4)
    real = builtins.__import__

    def lacking(name, *rest, **options):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(XmgError, match=r"pip install 'xmg\[arrow\]'"):
        export(file, tmp_path / "a.parquet")
    with pytest.raises(XmgError, match=r"pip install 'xmg\[arrow\]'"):
        read_arrow(tmp_path / "a.parquet")
    assert export(file, tmp_path / "a.npy")


# from_arrays -------------------------------------------------------------------------------


def test_defaults(tmp_path):
    file = make(tmp_path / "photos.h5")
    assert decode(file.ids) == ["0", "1", "2", "3"]
    assert file.labels.tolist() == [-1] * 4 and file.classes == []
    assert (file.dtype, file.dataset, file.encoder) == (np.float16, "photos", "some")
    np.testing.assert_array_equal(file.features, X)


def test_names_numbers_and_columns(tmp_path):
    ids = np.array(NAMES[:4])
    a = make(tmp_path / "a.h5", ids=ids, labels=["b", None, "a", "b"], columns={"n": [1, 2, 3, 4]})
    b = make(
        tmp_path / "b.h5", ids=ids, labels=np.array([0, -1, 1, 0], np.int8),
        classes=["b", "a", "unused"], columns={"n": list("1234")}, dataset="a",
    )  # fmt: skip
    assert read(a) == read(b) and a.fingerprint == b.fingerprint
    assert a.classes == ["a", "b"] and decode(a.ids) == NAMES[:4]


def test_ids_as_a_file_has_them_and_from_a_generator(tmp_path):
    ids = make(tmp_path / "a.h5", ids=NAMES[:4]).ids
    for i, form in enumerate((ids, list(ids), (name.decode() for name in ids))):
        file = make(tmp_path / f"{i}.h5", ids=form, labels=iter("abab"))
        assert decode(file.ids) == NAMES[:4] and file.class_names() == list("abab")


def test_tensors(tmp_path):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(X, requires_grad=True)
    for i, form in enumerate((tensor, tensor.bfloat16())):
        np.testing.assert_array_equal(make(tmp_path / f"{i}.h5", form).features, X)
        assert make(tmp_path / f"s{i}.h5", [form, form[:1]]).frames.tolist() == [
            *X.tolist(),
            [0, 1, 2],
        ]


def test_any_float_array_is_converted(tmp_path):
    forms = [X, X.astype("f8"), X.astype(">f4"), X.astype(">f8"), np.asfortranarray(X), X.tolist()]
    forms = [np.asarray(form, form.dtype if hasattr(form, "dtype") else "f4") for form in forms]
    prints = {make(tmp_path / f"{i}.h5", f, dataset="d").fingerprint for i, f in enumerate(forms)}
    assert len(prints) == 1
    parts = [X[:1], X[:3].astype(">f8"), X.astype("f2")]
    file = make(tmp_path / "s.h5", parts, dtype="float32")
    assert file.offsets.tolist() == [0, 1, 4, 8]
    np.testing.assert_array_equal(file.frames, np.concatenate(parts))


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (X[0], r"shape \(3,\); needed is \(N, D\)"),
        (X[None], r"shape \(1, 4, 3\)"),
        (X.astype("i8"), r"holds int64.*\n.*astype\('float32'\)"),
        (X > 3, "holds bool"),
        (X.astype("c8"), "holds complex64"),
        (X.astype(object), "holds object"),
        (X.astype("S4"), "holds bytes"),
        (X[:0], "nothing in them"),
        (X[:, :0], "nothing in them"),
        ([], "no row"),
        ([X[0], X[1]], r"features\[0\] has the shape \(3,\)"),
        ([X, X[:, :2]], r"features\[1\] has the shape \(4, 2\)"),
        ([X, X.astype("i4")], r"features\[1\] holds int32"),
        (np.ma.masked_equal(X, X[1, 1]), "mask hides some"),
        ([X, np.ma.masked_equal(X, X[1, 1])], "mask hides some"),
    ],
)
def test_other_arrays_are_refused(tmp_path, features, message):
    with pytest.raises(XmgError, match=message):
        make(tmp_path / "a.h5", features)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ids": list("abca")}, "'a' occurs twice"),
        ({"ids": list("abc")}, r"4 rows of features, and 3 ids\. fix: one for each row"),
        ({"ids": [b"a", b"\xff", b"c", b"d"]}, r"ids\[1\] is b'.xff'; needed is text"),
        ({"ids": ["a", None, "b", "c"]}, r"ids\[1\] is None; needed is text"),
        ({"ids": ["a", "b", "c", ""]}, "may not be empty"),
        ({"labels": ["a"]}, "4 rows of features, and 1 labels"),
        ({"labels": [0, 1, 0, 1], "ids": list("wxyz")}, r"label of 'w' is 0.*\n.*classes="),
        ({"labels": [0, 1, 2, -1], "classes": ["a", "b"]}, r"label of '2' is 2; .* 0, ..., 1, or"),
        ({"labels": [0, -2, 1, 1], "classes": ["a", "b"]}, "label of '1' is -2"),
        ({"labels": [0, 1.5, 1, 1], "classes": ["a", "b"]}, "label of '1' is 1.5"),
        ({"labels": [0, 1, 1, 1], "classes": ["a", "a"]}, "one class twice"),
        ({"columns": {"who": ["a"]}}, "4 rows of features, and 1 who"),
        ({"columns": {"a/b": list("abcd")}}, "'a/b' cannot be stored"),
        ({"columns": {1: list("abcd")}}, "name 1 cannot be stored. fix: rename it"),
        ({"dtype": "float64"}, "dtype must be one of"),
        ({"encoder": ""}, "encoder needs a name"),
        ({"encoder": 3}, "encoder is 3, no text. fix: put its name in quotes"),
        ({"dataset": 5}, "dataset is 5, no text. fix: put its name in quotes"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, options, message):
    with pytest.raises(XmgError, match=message):
        make(tmp_path / "a.h5", **options)
    assert not list(tmp_path.iterdir())


def test_an_unknown_option_is_an_error_of_the_program(tmp_path):
    with pytest.raises(TypeError, match="'dtpye'"):
        make(tmp_path / "a.h5", dtpye="float32")


def test_bad_rows_become_rejects_and_are_told(tmp_path):
    features = np.array([[1, 2], [np.nan, 0], [0, np.inf], [1e6, 0]], np.float64)
    said = []
    file = make(tmp_path / "a.h5", features, ids=list("abcd"), notify=said.append)
    assert decode(file.ids) == ["a"] and [name for name, _ in file.rejects] == list("bcd")
    assert said == [
        "rejected b: NaN or infinite values among its features",
        "rejected c: NaN or infinite values among its features",
        "rejected d: values overflow float16; --dtype float32 holds them",
    ]
    for dtype in ("float16", "float32"):
        file = make(tmp_path / f"{dtype}.h5", np.array([[1, 2], [1e39, 0]]), dtype=dtype)
        assert file.rejects == [("1", f"values overflow {dtype}")]
    said = said[:0]
    file = make(tmp_path / "s.h5", [X, X[:0], X[:1]], notify=said.append)
    assert file.rejects == [("1", "it has no frames")]
    with pytest.raises(XmgError, match="no input could be encoded"):
        make(tmp_path / "n.h5", features[1:3])
    bad = make(tmp_path / "many.h5", np.vstack([X, np.full((9, 3), np.nan)]), notify=said.append)
    assert len(bad.rejects) == 9 and said[-1].startswith("... 9 rejects in all")


def test_the_same_again_is_a_no_op_and_other_features_are_refused(tmp_path):
    out, said = tmp_path / "a.h5", []
    before = make(out).path.stat().st_mtime_ns
    make(out, X.astype("f8"), notify=said.append)
    assert out.stat().st_mtime_ns == before and "nothing to do" in said[0]
    other = X.copy()
    other[2, 1] += 1
    with pytest.raises(XmgError, match=r"1 input is changed \('2'\)"):
        make(out, other)
    with pytest.raises(XmgError, match=r'"some", would be "other"\.\nfix: .*overwrite=True'):
        make(out, encoder="other")
    spec = FeatureSpec(dataset="d", encoder="some", weights_sha256="", versions={},
                       preprocessing={f"p{i}": "word " * 200 for i in range(50)})  # fmt: skip
    with pytest.raises(XmgError, match=r"and 48 more\.\nfix") as caught:
        make(out, encoder=spec)
    assert len(str(caught.value)) < 1000
    np.testing.assert_array_equal(make(out, other, overwrite=True).features, other)
