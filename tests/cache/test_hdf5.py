"""The reader of HDF5's structures says what the HDF5 library says."""

import math

import edits
import h5py
import mutations
import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, layout
from xmg.cache.hdf5.file import attributes, datasets, open_root
from xmg.cache.hdf5.structures import MalformedError, lookup3


@given(st.binary(max_size=70))
def test_lookup3_twin(data):
    assert lookup3(data) == mutations.lookup3(data)


def test_lookup3_as_published():
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def same(path):
    """Datasets and attributes by both readers; those that format 1 leaves out are left out."""
    root = open_root(path.read_bytes())
    with h5py.File(path) as file:
        found = {key: _plain(file.attrs[key]) for key in file.attrs}
        wanted = {key: value for key, value in found.items() if value is not None}
        extents = layout.extents(file)
    assert list(datasets(root, layout.OURS).items()) == list(extents.items())
    assert attributes(root) == wanted


def _plain(value):
    if isinstance(value, np.generic):
        value = value.item()
    value = value.decode() if isinstance(value, bytes) else value
    return value if isinstance(value, str | int) else None


@pytest.mark.parametrize("n_columns", [0, 1, 4, 8, 9, 44, 45, 46, 150, 700])
@pytest.mark.parametrize("sequences", [False, True])
def test_as_hdf5_reads_it(tmp_path, n_columns, sequences):
    columns = {f"column {i}" + "é" * (i % 90): list("abc") for i in range(n_columns)}
    rows = [np.ones((2, 2))] * 3 if sequences else np.ones((3, 2))
    path = tmp_path / "a.h5"
    same(synthetic.write(path, rows, ["a"] * 3, columns=columns, sequences=sequences).path)


@pytest.mark.parametrize("n_long", [1, 5])
@pytest.mark.parametrize("length", [1, 100, 4000, 4097, 11_000])  # HDF5 allows 64 KiB
def test_long_attributes(tmp_path, length, n_long):
    values = dict.fromkeys(list("abcde")[:n_long], "x" * length)
    spec = FeatureSpec(
        dataset="d", encoder="e" * length, weights_sha256="", preprocessing=values, versions={}
    )
    with FeatureWriter(tmp_path / "a.h5", spec, Listing(["i"], ["a"]), 2) as writer:
        writer.put(0, np.ones((1, 2)))
    assert FeatureFile(tmp_path / "a.h5").provenance["preprocessing"] == values
    same(tmp_path / "a.h5")


@pytest.mark.parametrize("n_extra", [0, 1, 30, 90])
def test_after_others_added_and_removed_attributes_and_datasets(tmp_path, n_extra):
    path = synthetic.write(tmp_path / "a.h5", np.ones((6, 2)), ["a"] * 6).path
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        for i in range(n_extra):
            layout.set_attributes(file, {f"text {i}": "x" * (7 * i), f"number {i}": i})
            layout.allocate(file, f"columns/c{i}", (6,), np.dtype("S3"))
            layout.allocate(file, f"other/c{i}", (6,), np.dtype("f8"))
            file.attrs[f"float {i}"] = math.pi
    same(path)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        for i in range(0, n_extra, 2):
            del file.attrs[f"text {i}"], file[f"columns/c{i}"]
    same(path)


def test_every_edit_is_read_as_hdf5_reads_it_or_refused(tmp_path):
    whole = synthetic.write(
        tmp_path / "0.h5", np.ones((6, 3)), ["a"] * 6, columns={"speaker": list("xyzxyz")}
    )
    content, n_same = whole.path.read_bytes(), 0
    for i, (name, edit) in enumerate(edits.edits()):
        path = tmp_path / f"{i}.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            edit(file)
        try:
            datasets(open_root(path.read_bytes()), layout.OURS)
        except (MalformedError, UnicodeDecodeError):
            continue
        if not name.startswith("@") and name != "many attributes":  # those are of varying length
            same(path)
            n_same += 1
    assert n_same > 100
