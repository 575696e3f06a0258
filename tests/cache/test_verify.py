"""Every flipped bit of a feature file is found, and named by dataset and block."""

import os
from itertools import pairwise

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, XmgError, layout
from xmg.cache.identity import content_digest
from xmg.cache.verify import Damage, damages

N = 2500  # rows: two blocks of 1,024 and a part of one


def dense(path, n):
    rng = np.random.default_rng(0)
    labels = [f"class {i % 7}" if i % 11 else None for i in range(n)]
    ids = [f"id{i:05d}" for i in range(n)]
    contents = np.array([content_digest(name.encode()) for name in ids], np.uint64)
    listing = Listing(ids, labels, {"speaker": [f"s{i % 5}" for i in range(n)]}, contents)
    with FeatureWriter(path, synthetic.SPEC, listing, 6) as writer:
        writer.put(0, rng.normal(size=(n - 2, 6)))
        writer.put(n - 2, [Reject("no sound"), Reject("not an image")])
    return FeatureFile(path)


def sequences(path, n):
    rng = np.random.default_rng(1)
    rows = [rng.normal(size=(1 + i % 2, 3)) for i in range(n)]
    rows[n - 1] = np.full((1, 3), np.nan)
    labels = [f"class {i % 3}" for i in range(n)]
    return synthetic.write(path, rows, labels, columns={"c": ["x"] * n}, sequences=True)


def flip(path, bit):
    with open(path, "r+b") as file:
        byte = os.pread(file.fileno(), 1, bit // 8)[0]
        os.pwrite(file.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)


def found_after_flip(path, bit):
    """What is said of a file with one flipped bit, which is put right again; None if refused."""
    flip(path, bit)
    try:
        return list(damages(FeatureFile(path)))
    except XmgError as error:
        assert str(path) in str(error) and "fix: " in str(error)
        return None
    finally:
        flip(path, bit)


def place_of(extents, byte):
    """The damage that a flipped bit of this byte is, by the extents of an untouched file."""
    for name, (offset, shape, dtype) in extents.items():
        size = dtype.itemsize * int(np.prod(shape))
        if offset <= byte < offset + size and not name.startswith("checksums/"):
            row = (byte - offset) // (size // shape[0])
            first = row // layout.BLOCK_ROWS * layout.BLOCK_ROWS
            return Damage(name, first, min(first + layout.BLOCK_ROWS, shape[0]) - 1)
    return None


def check(path, extents, bit):
    """A bit of a dataset is named by dataset and block, and any other is found at least."""
    found, place = found_after_flip(path, bit), place_of(extents, bit // 8)
    if place and found is not None:
        assert found == [place], f"bit {bit}"
    else:
        assert found is None or Damage(layout.STRUCTURE, -1, -1) in found, f"bit {bit}"
    return found, place


@pytest.mark.parametrize("make", [dense, sequences])
@pytest.mark.parametrize("n", [8, N])
def test_flipped_bits_anywhere(tmp_path, make, n):
    file = make(tmp_path / "a.h5", n)
    assert list(damages(file)) == []
    rng = np.random.default_rng(n)
    for bit in rng.integers(8 * file.path.stat().st_size, size=300 if n == 8 else 150).tolist():
        check(file.path, file.extents, bit)
    assert list(damages(FeatureFile(file.path))) == []


@pytest.mark.parametrize("make", [dense, sequences])
@pytest.mark.parametrize("n", [8, N])
def test_flipped_bits_of_every_dataset(tmp_path, make, n):
    file = make(tmp_path / "a.h5", n)
    rng = np.random.default_rng(n)
    for name, extent in file.extents.items():
        if not layout.size_of(extent):
            continue
        bits = rng.integers(8 * layout.size_of(extent), size=20 if n == 8 else 8) + 8 * extent[0]
        results = [check(file.path, file.extents, bit) for bit in bits.tolist()]
        if not name.startswith("checksums/"):
            assert {place.dataset for _, place in results} == {name}
        if name in ("features", "frames", "ids", "labels", "classes", "contents", "columns/c"):
            assert all(found for found, _ in results)  # the file opens, and the place is named


def test_flipped_bits_of_the_structure(tmp_path):
    """Headers, attributes, and what lies between the datasets, bit by bit where it is not zero."""
    file = dense(tmp_path / "a.h5", 8)
    content = np.frombuffer(file.path.read_bytes(), np.uint8)
    used = np.flatnonzero(content)
    rng = np.random.default_rng(0)
    for byte in rng.choice(used, 600, replace=False).tolist():
        check(file.path, file.extents, 8 * byte + int(rng.integers(8)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [dense, sequences])
def test_every_bit_that_is_in_use(tmp_path, make):
    """Each bit of each byte that is not zero or lies within 64 bytes of one that is not."""
    file = make(tmp_path / "a.h5", 8)
    content = np.frombuffer(file.path.read_bytes(), np.uint8)
    near = np.unique(np.flatnonzero(content)[:, None] + np.arange(-64, 65))
    for byte in near[(near >= 0) & (near < len(content))].tolist():
        for bit in range(8 * byte, 8 * byte + 8):
            check(file.path, file.extents, bit)


def test_several_blocks_and_rows_at_the_edges(tmp_path):
    file = dense(tmp_path / "a.h5", N)
    offset, shape, dtype = file.extents["features"]
    row_bytes = shape[1] * dtype.itemsize
    for row in (0, 1023, 1024, 2047, 2048, N - 3):
        for byte in (0, row_bytes - 1):
            flip(file.path, 8 * (offset + row * row_bytes + byte))
    blocks = [(0, 1023), (1024, 2047), (2048, N - 3)]
    assert list(damages(file)) == [Damage("features", *block) for block in blocks]
    assert [str(damage) for damage in damages(file)][1] == "features, rows 1,024 to 2,047"


def test_all_bytes_are_covered_once(tmp_path):
    """Blocks and structure cover the file: no byte is left to chance."""
    for make in (dense, sequences):
        file = make(tmp_path / f"{make.__name__}.h5", N)
        spans = sorted((o, o + layout.size_of((o, *e))) for o, *e in file.extents.values())
        assert all(stop <= start for (_, stop), (start, _) in pairwise(spans) if start != 0)
        assert {f"checksums/{n}" for n in file.names if "checksums" not in n} <= {*file.names}


@pytest.mark.parametrize("cut", [1, 4096])
def test_bytes_added_at_the_end(tmp_path, cut):
    file = dense(tmp_path / "a.h5", 8)
    with open(file.path, "ab") as grown:
        grown.write(bytes(cut))
    assert list(damages(FeatureFile(file.path))) == [Damage(layout.STRUCTURE, -1, -1)]


def test_values_that_another_tool_wrote(tmp_path):
    """NaN among the features is damage like any other, and verify says where."""
    import h5py

    path = dense(tmp_path / "a.h5", N).path
    with h5py.File(path, "r+") as other:
        other["features"][1500] = np.nan
    file = FeatureFile(path)
    assert np.isnan(file.features[1500]).all()
    assert Damage("features", 1024, 2047) in [*damages(file)]
