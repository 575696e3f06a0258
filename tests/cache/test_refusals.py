from dataclasses import replace

import h5py
import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, XmgError
from xmg.cache.outputs import check_replaceable, required

ONE = Listing(["a"], ["x"])
ROW = np.ones((1, 2), np.float32)


def writer(path, listing=ONE, **options):
    return FeatureWriter(path, synthetic.SPEC, listing, 2, **options)


@pytest.mark.parametrize(
    ("ids", "labels", "message"),
    [
        (["a", "b", "a"], ["x"] * 3, "'a' occurs twice"),
        (["a", "b"], ["x"], "differ in length"),
        (["a", ""], ["x", "x"], "may not be empty"),
        (["a", "b"], ["x", ""], "may not be empty"),
        (["a", "b\0"], ["x", "x"], "NUL"),
    ],
)
def test_listing(ids, labels, message):
    with pytest.raises(XmgError, match=message):
        Listing(ids, labels)


def test_columns_have_one_value_a_row():
    with pytest.raises(XmgError, match="differ in length"):
        Listing(["a"], ["x"], {"speaker": ["b", "c"]})


def test_a_column_keeps_what_it_was_given():
    with pytest.raises(XmgError, match=r"'speaker' has a value that ends in a NUL byte: 'b.x00'"):
        Listing(["a", "b"], ["x", "x"], {"speaker": ["b\0", "b"]})


def test_dtype(tmp_path):
    with pytest.raises(XmgError, match="'float64'"):
        writer(tmp_path / "a.h5", dtype="float64")


@pytest.mark.parametrize("outputs", [np.ones((1, 3)), np.ones((1, 2, 2))])
def test_shape(tmp_path, outputs):
    with (
        pytest.raises(XmgError, match=r"features of input 0 are .*, not \(2,\)"),
        writer(tmp_path / "a.h5") as open_writer,
    ):
        open_writer.put(0, outputs)
    assert not list(tmp_path.iterdir())


def test_an_empty_sequence(tmp_path):
    with (
        pytest.raises(XmgError, match=r"not \(T, 2\)"),
        writer(tmp_path / "a.h5", sequences=True) as open_writer,
    ):
        open_writer.put(0, [np.empty((0, 2))])


def test_too_many_and_too_few_outputs(tmp_path):
    with (
        pytest.raises(XmgError, match="more outputs than the 1 listed"),
        writer(tmp_path / "a.h5") as open_writer,
    ):
        open_writer.put(0, np.ones((2, 2)))
    with (
        pytest.raises(XmgError, match="1 listed inputs got no features"),
        writer(tmp_path / "a.h5"),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_nothing_encoded_names_the_first_reason(tmp_path):
    with (
        pytest.raises(XmgError, match="first reason: no codec"),
        writer(tmp_path / "a.h5") as open_writer,
    ):
        open_writer.put(0, [Reject("no codec")])


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_an_exception_leaves_the_former_file(tmp_path, error):
    former = synthetic.write(tmp_path / "a.h5", ROW, ["x"], ["former"]).path.read_bytes()
    with pytest.raises(error), writer(tmp_path / "a.h5") as open_writer:
        open_writer.put(0, ROW)
        raise error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "a.h5.partial"]
    assert (tmp_path / "a.h5").read_bytes() == former
    with writer(tmp_path / "a.h5") as open_writer:
        assert open_writer.done.all()
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert (tmp_path / "a.h5").read_bytes() != former


def test_missing_file(tmp_path):
    with pytest.raises(XmgError, match=r"no feature file at .*absent\.h5"):
        FeatureFile(tmp_path / "absent.h5")


@pytest.mark.parametrize("content", [b"", b"not HDF5" * 999])
def test_not_hdf5(tmp_path, content):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(XmgError, match=r"a\.h5 is not a readable HDF5"):
        FeatureFile(tmp_path / "a.h5")


def test_foreign_hdf5(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = np.ones((2, 2))
    with pytest.raises(XmgError, match="HDF5 but no feature file of xmg"):
        FeatureFile(tmp_path / "a.h5")


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.99])
def test_truncated(tmp_path, keep):
    path = synthetic.write(tmp_path / "a.h5", np.ones((900, 8)), ["x"] * 900).path
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(XmgError, match=r"a\.h5 is (truncated|not a readable.*truncated)"):
        FeatureFile(path)


def test_format_of_the_future(tmp_path):
    path = synthetic.write(tmp_path / "a.h5", ROW, ["x"]).path
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(XmgError, match="has feature format 2, this xmg reads up to 1"):
        FeatureFile(path)


def test_a_dataset_is_gone(tmp_path):
    path = synthetic.write(tmp_path / "a.h5", ROW, ["x"]).path
    with h5py.File(path, "r+") as file:
        del file["labels"]
    with pytest.raises(XmgError, match="lacks the dataset 'labels'"):
        FeatureFile(path)


def test_a_repacked_file_is_not_mapped(tmp_path):
    path = synthetic.write(tmp_path / "a.h5", ROW, ["x"]).path
    with h5py.File(path, "r+") as file:
        del file["features"]
        file.create_dataset("features", data=ROW, compression="gzip")
    with pytest.raises(XmgError, match="chunked or compressed"):
        FeatureFile(path)


def test_sequences_where_one_vector_is_needed(tmp_path):
    file = synthetic.write(tmp_path / "s.h5", [np.ones((2, 2))], ["x"], sequences=True)
    with pytest.raises(XmgError, match="holds sequences of frames"):
        _ = file.features


def test_a_spec_that_no_attribute_can_hold():
    with pytest.raises(XmgError, match="preprocessing is longer than the 60,000 bytes"):
        replace(synthetic.SPEC, preprocessing={"vocabulary": "x" * 70_000})


@pytest.mark.parametrize("letters", [300, 5000])
def test_a_name_that_no_file_can_have(tmp_path, letters):
    path = tmp_path / f"{'a' * letters}.h5"
    with pytest.raises(XmgError, match=r"cannot write .*: File name too long\. fix: name an"):
        check_replaceable(path)
    with pytest.raises(
        XmgError, match=r"cannot look at .*: File name too long\. fix: check the pa"
    ):
        required(path)


def test_what_has_to_be_there(tmp_path):
    assert required(tmp_path) == tmp_path
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file" / "inside", tmp_path / "a\0b"):
        with pytest.raises(XmgError, match=r"there is nothing at .* fix: check the path"):
            required(path)
