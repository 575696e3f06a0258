"""Parquet and Arrow files of other programs."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import XmgError, decode, from_arrays
from xmg.cache.exchange.arrow import read_arrow
from xmg.cache.exchange.export import export

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def imported(path, out, **options):
    table = read_arrow(path, **options)
    return from_arrays(
        out, table.rows, encoder="some", ids=table.ids, labels=table.labels, columns=table.columns
    )


VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float32()),
        pa.list_(pa.float16()), pa.list_(pa.float16(), 2),
    ],
    ids=str,
)  # fmt: skip
def test_vectors_of_other_programs(tmp_path, kind):
    path = parquet(tmp_path / "x.parquet", vector=pa.array(VECTORS, kind))
    assert imported(path, tmp_path / "a.h5").features.tolist() == VECTORS
    frames = pa.array([VECTORS[:1], [], VECTORS], pa.list_(kind))
    path = parquet(tmp_path / "s.parquet", frames=frames, id=["a", "b", "c"])
    file = imported(path, tmp_path / "s.h5")
    assert file.frames.tolist() == VECTORS[:1] + VECTORS
    assert file.rejects == [("b", "it has no frames")]


def test_the_first_sequences_may_be_empty(tmp_path):
    frames = pa.array([[], [], VECTORS], pa.list_(pa.list_(pa.float32())))
    table = pa.table({"frames": frames, "id": ["a", "b", "c"]})
    with pa.ipc.new_file(tmp_path / "x.arrow", table.schema) as file:
        file.write_table(table)
    found = imported(tmp_path / "x.arrow", tmp_path / "a.h5")
    assert found.frames.tolist() == VECTORS and len(found.rejects) == 2


def test_columns_of_other_programs(tmp_path):
    path = parquet(
        tmp_path / "x.parquet",
        number=[7, 8, 9],
        kind=pa.array(["k", None, "狗"]).dictionary_encode(),
        image=[{"bytes": b"1"}] * 3,
        raw=[b"\xff"] * 3,
        emb=VECTORS,
    )
    said = []
    options = {"id_column": "number", "label_column": "kind", "notify": said.append}
    file = imported(path, tmp_path / "a.h5", **options)
    assert decode(file.ids) == ["7", "8", "9"] and file.classes == ["k", "狗"]
    assert said == ["left out, as no text: image, raw"]
    assert read_arrow(path).ids is None and read_arrow(path).spec is None


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_what_pandas_lacks_is_no_class(tmp_path, kind):
    gaps = np.array([1, np.nan, 2.5], kind)
    path = parquet(tmp_path / "x.parquet", features=VECTORS, label=gaps, other=gaps)
    file = imported(path, tmp_path / "a.h5")
    assert file.class_names() == ["1", None, "2.5"]
    assert decode(file.column("other")) == ["1", "", "2.5"]


def test_a_stream_of_batches(tmp_path):
    schema = pa.schema([("features", pa.list_(pa.float32(), 2)), ("id", pa.string())])
    with pa.ipc.new_stream(tmp_path / "x.arrow", schema) as writer:
        for i, v in enumerate(VECTORS):
            writer.write_batch(pa.record_batch([[v], [str(i)]], schema=schema))
    assert imported(tmp_path / "x.arrow", tmp_path / "a.h5").features.tolist() == VECTORS


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"x": ["a"]}, {}, r"which column holds .*x \(string\).*\nfix: --features-column"),
        ({"a": VECTORS, "b": VECTORS}, {}, "which column holds"),
        ({"features": [[1, 2]]}, {}, "'features' does not hold"),
        ({"features": [[1.0], [2.0, 3.0]]}, {}, r"rows 1 to 2: .* several lengths, not all of 1"),
        ({"features": [[1.0], None]}, {}, "1 have no features"),
        ({"features": [None, None, [1.0]]}, {}, "2 have no features"),
        ({"features": pa.array([[], []], pa.list_(pa.float32()))}, {}, "no row has a vector"),
        ({"features": pa.array([], pa.list_(pa.float32(), 2))}, {}, "has no rows"),
        ({"features": VECTORS, "id": ["a", None, "b"]}, {}, "row 2 has an empty id. fix: "),
        ({"features": VECTORS, "id": [1.0, np.nan, 2.0]}, {}, "row 2 has an empty id. fix: "),
        ({"features": VECTORS, "id": ["a", "b", "a"]}, {}, "x.parquet: rows 1 and 3 share .* fix:"),
        (
            {"features": VECTORS, "label": [["a"]] * 3},
            {},
            "'label' .list.* is no text. fix: --label",
        ),
        ({"features": VECTORS}, {"id_column": "featuers"}, "lacks the column 'featuers'; the clo"),
        ({"features": VECTORS}, {"features_column": "x"}, "lacks the column 'x'"),
    ],
)
def test_parquet_that_does_not_fit(tmp_path, columns, options, message):
    path = parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(XmgError, match=message):
        imported(path, tmp_path / "a.h5", **options)
    assert not (tmp_path / "a.h5").exists()


def test_missing_values_inside_a_vector_reject_the_row(tmp_path):
    path = parquet(tmp_path / "x.parquet", features=[[1.0, None], [1.0, 2.0]])
    assert [name for name, _ in imported(path, tmp_path / "a.h5").rejects] == ["0"]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_a_damaged_file_is_one_sentence(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(XmgError, match="does not exist"):
        read_arrow(path)
    export(synthetic.write(tmp_path / "a.h5", X, ["a"] * 4), path)
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:4], whole[:-20], whole[: len(whole) // 2], b"PAR1" * 9):
        path.write_bytes(content)
        with pytest.raises(XmgError, match="not a readable Parquet or Arrow file"):
            imported(path, tmp_path / "b.h5")


@given(st.binary(max_size=40))
def test_foreign_metadata_is_passed_over(content):
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"features": VECTORS}).replace_schema_metadata({"xmg": content})
        pq.write_table(table, Path(folder) / "x.parquet")
        assert read_arrow(Path(folder) / "x.parquet").spec is None
