import math
import multiprocessing
import operator

import h5py
import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing, Reject, decode, layout
from xmg.cache.verify import damages

IDS = ["ünï/1", "猫 2", "emoji \U0001f431", "plain"]
LABELS = ["größe", None, "äpfel", "größe"]


def rows(n: int, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype("f4")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dense_round_trip(tmp_path, dtype):
    x = rows(4)
    columns = {"speaker": ["Åsa", "", "Bo", "Åsa"]}
    file = synthetic.write(tmp_path / "a.h5", x, LABELS, IDS, columns, dtype)
    np.testing.assert_array_equal(file.features, x.astype(dtype))
    assert file.features.dtype == np.dtype(dtype)
    assert decode(file.ids) == IDS
    assert file.classes == ["größe", "äpfel"]  # by code point
    assert file.labels.tolist() == [0, -1, 1, 0]
    assert decode(file.column("speaker")) == columns["speaker"]
    assert file.column("absent") is None
    assert (len(file), file.dim, file.is_sequence) == (4, 3, False)
    assert list(damages(file)) == []


def test_sequence_round_trip(tmp_path):
    parts = [rows(n, 2, n) for n in (3, 1, 2)]
    file = synthetic.write(tmp_path / "s.h5", parts, ["a", "b", None], sequences=True)
    assert file.is_sequence and file.dim == 2
    assert file.offsets.tolist() == [0, 3, 4, 6]
    np.testing.assert_array_equal(file.frames, np.concatenate(parts))


def test_attributes(tmp_path):
    file = synthetic.write(tmp_path / "a.h5", rows(2), ["a", "b"])
    assert (file.dataset, file.encoder) == ("toy", "none")
    assert file.provenance["preprocessing"] == {"scale": 1}
    assert file.provenance["format_version"] == 1


def test_maps_are_read_only(tmp_path):
    file = synthetic.write(tmp_path / "a.h5", rows(2), ["a", "b"])
    with pytest.raises(ValueError, match="read-only"):
        file.features[0, 0] = 1


def test_readable_with_plain_h5py_on_page_boundaries(tmp_path):
    x = rows(5)
    path = synthetic.write(tmp_path / "a.h5", x, ["b", "a", None, "b", "a"]).path
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["features"][:], x)
        assert file["ids"].asstr()[:].tolist() == [f"id{i:05d}" for i in range(5)]
        assert file["classes"].asstr()[:].tolist() == ["a", "b"]
        assert file["class_index/rows"][:].tolist() == [1, 4, 0, 3]
        whole = (file["features"], file["ids"], file["class_index/rows"])
        assert all(d.id.get_offset() % 4096 == 0 and d.chunks is None for d in whole)


def test_same_input_same_bytes(tmp_path):
    one = synthetic.write(tmp_path / "one.h5", rows(9), ["a", None, "b"] * 3)
    two = synthetic.write(tmp_path / "two.h5", rows(9), ["a", None, "b"] * 3)
    assert one.path.read_bytes() == two.path.read_bytes()


def test_batches_do_not_matter(tmp_path):
    x = rows(7)
    listing = Listing([str(i) for i in range(7)], ["a"] * 7)
    for name, size in (("one.h5", 7), ("two.h5", 2)):
        with FeatureWriter(tmp_path / name, synthetic.SPEC, listing, 3) as writer:
            for i in range(0, 7, size):
                writer.put(i, x[i : i + size])
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_fingerprint_changes_with_whatever_decides_the_features(tmp_path):
    spec = {
        "dataset": "d", "encoder": "e", "weights_sha256": "w", "preprocessing": {"a": 1},
        "versions": {"torch": "1"},
    }  # fmt: skip
    others = [{**spec, k: v if isinstance(v, dict) else v + "x"} for k, v in spec.items()]
    others[3]["preprocessing"] = {"a": 2}
    others[4]["versions"] = {"torch": "2"}
    found = set()
    for i, settings in enumerate([spec, *others]):
        path = tmp_path / f"{i}.h5"
        with FeatureWriter(path, FeatureSpec(**settings), Listing(["i"], ["a"]), 3) as writer:
            writer.put(0, rows(1))
        found.add(FeatureFile(path).fingerprint)
    found.add(synthetic.write(tmp_path / "label.h5", rows(1), ["b"], ["i"]).fingerprint)
    assert len(found) == 7


@given(st.lists(st.integers(-1, 4), max_size=30))
def test_class_index_twin(labels):
    offsets, order = layout.class_index(np.array(labels, dtype=np.int32), 5)
    for c in range(5):
        twin = [i for i, label in enumerate(labels) if label == c]
        assert order[offsets[c] : offsets[c + 1]].tolist() == twin
    assert len(order) == sum(label >= 0 for label in labels)


def test_rejects_leave_no_row(tmp_path):
    listing = Listing(list("abcde"), ["x", "y", "z", "x", "y"], {"n": list("12345")})
    outputs = [
        rows(1)[0],
        Reject("unreadable: größe"),
        np.array([1, math.nan, 2]),
        np.array([1, -math.inf, 2]),
        np.array([1, 2, 70000.0]),  # over float16's 65504
    ]
    with FeatureWriter(tmp_path / "r.h5", synthetic.SPEC, listing, 3) as writer:
        writer.put(0, outputs)
    file = FeatureFile(tmp_path / "r.h5")
    assert decode(file.ids) == ["a"] and decode(file.column("n")) == ["1"]
    assert [name for name, _ in file.rejects] == ["b", "c", "d", "e"]
    reasons = [reason for _, reason in file.rejects]
    assert reasons[0] == "unreadable: größe"
    assert "NaN or infinite" in reasons[1] and "NaN or infinite" in reasons[2]
    assert "--dtype float32" in reasons[3]


def test_sequences_with_a_bad_frame_are_rejected_whole(tmp_path):
    parts = [rows(2), np.array([[0, 0, 0], [0, math.nan, 0]]), rows(3, seed=1)]
    file = synthetic.write(tmp_path / "s.h5", parts, ["a", "b", "c"], sequences=True)
    assert file.offsets.tolist() == [0, 2, 5]
    assert [name for name, _ in file.rejects] == ["id00001"]


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_flipped_bit_is_found(tmp_path, block):
    path = synthetic.write(tmp_path / "a.h5", rows(2500), ["a", "b"] * 1250).path
    with h5py.File(path) as file:
        start = file["features"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[start + (block * 1024 + 7) * 12 + 5] ^= 0x10
    path.write_bytes(content)
    assert [str(d) for d in damages(FeatureFile(path))] == [
        f"features, rows {block * 1024:,} to {min(block * 1024 + 1024, 2500) - 1:,}"
    ]


def test_a_spawned_process_maps_the_file_itself(tmp_path):
    file = synthetic.write(tmp_path / "a.h5", rows(6), ["a"] * 6)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        features = pool.apply(operator.attrgetter("features"), (file,))
    np.testing.assert_array_equal(features, file.features)
