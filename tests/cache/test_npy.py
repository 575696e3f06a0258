"""NumPy array files with a table beside them."""

import numpy as np
import pytest

from xmg.cache import XmgError, decode, from_arrays
from xmg.cache.exchange.npy import read_npy

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def make(path, features, **options):
    return from_arrays(path, features, encoder="some", **options)


def test_npy_without_a_table(tmp_path):
    np.save(tmp_path / "x.npy", X)
    table = read_npy(tmp_path / "x.npy")
    file = make(tmp_path / "a.h5", table.rows, ids=table.ids, labels=table.labels)
    assert decode(file.ids) == ["0", "1", "2", "3"] and file.classes == []
    np.testing.assert_array_equal(file.features, X)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X[0], r"shape \(3,\); needed is \(N, D\)"),
        (X[None], r"shape \(1, 4, 3\)"),
        (np.float32(3), r"shape \(\)"),
        (X.astype("i4"), "holds int32"),
        (np.array([{}, X], object), "not a readable .npy file of numbers"),
        (np.zeros(4, [("a", "f4")]), "holds void"),
        (X[:0], r"nothing in them|not a readable"),
    ],
)
def test_npy_of_other_things(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(XmgError, match=message):
        read_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("array", [X.astype(">f4"), np.asfortranarray(X), X.astype(">f2")])
def test_npy_in_another_order(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    np.testing.assert_array_equal(
        make(tmp_path / "a.h5", read_npy(tmp_path / "x.npy").rows).features, X
    )


def test_npy_that_is_none(tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(XmgError, match=r"x\.npy does not exist"):
        read_npy(path)
    np.save(path, X)
    whole = path.read_bytes()
    for content in (
        b"",
        b"hello",
        whole[:60],
        whole[:-5],
        b"\x80\x04K\x01.",
        whole[:9] + b"\xff" * 99,
    ):
        path.write_bytes(content)
        with pytest.raises(XmgError, match=r"not a readable \.npy"):
            read_npy(path)
    np.savez(tmp_path / "x.npz", X)
    with pytest.raises(XmgError, match="npz archive"):
        read_npy(tmp_path / "x.npz")
    with pytest.raises(XmgError, match="is no regular file"):
        read_npy(tmp_path)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (["1", "2"], "has 4 frames, and n_frames of its table sums to 3"),
        (["1", "x", "3"], "row 2 .* n_frames is 'x', no number"),
        (["5", "-1"], "n_frames is '-1'"),
        (["9" * 18] * 30, "sums to"),
    ],
)
def test_n_frames_that_do_not_fit(tmp_path, lengths, message):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(XmgError, match=message):
        read_npy(tmp_path / "x.npy", {"n_frames": lengths})


def test_columns_of_the_table_by_name(tmp_path):
    np.save(tmp_path / "x.npy", X)
    columns = {"key": list("abcd"), "class": ["k", "", "k", "l"], "id": list("1234")}
    table = read_npy(tmp_path / "x.npy", columns, id_column="key", label_column="class")
    assert table.ids == list("abcd") and table.labels == ["k", None, "k", "l"]
    assert table.columns == {"id": list("1234")}
    columns["key"][3] = "a"
    with pytest.raises(XmgError, match=r"rows 1 and 4 share the id 'a'.* fix: "):
        read_npy(tmp_path / "x.npy", columns, id_column="key")
    with pytest.raises(XmgError, match=r"x.npy has 4 rows, and its table 3\. fix: "):
        read_npy(tmp_path / "x.npy", {"id": list("abc")})
    with pytest.raises(XmgError, match="lacks the column 'clas'; the closest is 'class'"):
        read_npy(tmp_path / "x.npy", columns, label_column="clas")
