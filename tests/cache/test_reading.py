"""Reading where files are shared, replaced, many, or large."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, layout
from xmg.cache.writing.skeleton import skeleton

ROWS = np.arange(60, dtype="f4").reshape(20, 3)
LABELS = ["a", "b", None, "c"] * 5


@pytest.fixture
def file(tmp_path):
    return synthetic.write(tmp_path / "a.h5", ROWS, LABELS)


def seen(file) -> tuple[list[float], list[int], str]:
    """What a worker says of the file."""
    return (
        file.take(np.array([19, 3])).ravel().tolist(),
        file.rows_of(1).tolist(),
        file.texts("ids")[-1],
    )


SEEN = ([57.0, 58.0, 59.0, 9.0, 10.0, 11.0], [1, 5, 9, 13, 17], "id00019")


def run(code: str, *arguments: str) -> str:
    """Run code in a fresh process, with `file` the file that it is given; return what it prints."""
    prelude = "import os, sys\nfrom xmg.cache import FeatureFile, XmgError\n"
    command = [sys.executable, "-W", "error", "-c", prelude + code, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Shared ------------------------------------------------------------------------------------

FORKED = """
import multiprocessing
file = FeatureFile(sys.argv[1])
def total(i):
    return float(file.take(file.rows_of(i % 3)).sum())
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(total, range(12)) == [*map(total, range(12))])
"""


def test_forked_workers_read_what_was_mapped_before(file):
    assert run(FORKED, str(file.path)) == "True\n"


def test_spawned_workers_map_the_file_themselves(file):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(seen, [file] * 6) == [SEEN] * 6


def test_threads_share_a_file(file):
    with ThreadPoolExecutor(8) as pool:
        assert set(map(repr, pool.map(lambda _: seen(file), range(400)))) == {repr(SEEN)}
        opened = pool.map(lambda _: seen(FeatureFile(file.path)), range(64))
        assert set(map(repr, opened)) == {repr(SEEN)}


LOADER = """
import torch
class Rows(torch.utils.data.Dataset):
    def __init__(self, path): self.file = FeatureFile(path)
    def __len__(self): return len(self.file)
    def __getitem__(self, i): return torch.from_numpy(self.file.features[i].copy())
loader = torch.utils.data.DataLoader(
    Rows(sys.argv[1]), batch_size=7, num_workers=2, multiprocessing_context="fork"
)
print(torch.cat([*loader]).sum().item())
"""


def test_a_torch_data_loader(file):
    assert float(run(LOADER, str(file.path))) == ROWS.sum()


def test_pickled(file):
    assert seen(pickle.loads(pickle.dumps(file))) == SEEN  # noqa: S301 (our own bytes)


THOUSAND = """
import resource, shutil
resource.setrlimit(resource.RLIMIT_NOFILE, (1100, 1100))
files = []
for i in range(1000):
    shutil.copyfile(sys.argv[1], sys.argv[1] + str(i))
    files.append(FeatureFile(sys.argv[1] + str(i)))
print(sum(file.features[i % 20, 0] == 3 * (i % 20) for i, file in enumerate(files)))
"""


def test_a_thousand_files_at_once(file):
    assert run(THOUSAND, str(file.path)) == "1000\n"


def test_a_file_that_is_replaced_reads_as_it_was(file, tmp_path):
    other = synthetic.write(tmp_path / "b.h5", -ROWS, ["z"] * 20).path
    other.replace(file.path)
    assert seen(file) == SEEN and file.classes == ["a", "b", "c"]
    assert FeatureFile(file.path).features[1, 0] == -3
    file.path.unlink()
    assert seen(file) == SEEN


# Large -------------------------------------------------------------------------------------


def sparse(path, n, dim, n_frames=0):
    """A file of n rows that takes no room on the disk: every row is zero, of class 0."""
    rows = {"frames": ((n_frames, dim), np.dtype("<f2")), "offsets": ((n + 1,), np.dtype("<i8"))}
    shapes = {
        **(rows if n_frames else {"features": ((n, dim), np.dtype("<f2"))}),
        "ids": ((n,), np.dtype("S9")), "labels": ((n,), np.dtype("<i4")),
        "classes": ((2,), np.dtype("S1")), "class_index/offsets": ((3,), np.dtype("<i8")),
        "class_index/rows": ((n,), np.dtype("<i8")), "contents": ((0, 2), np.dtype("<u8")),
        "rejects/id": ((0,), np.dtype("S1")), "rejects/reason": ((0,), np.dtype("S1")),
    }  # fmt: skip
    texts = ("dataset", "encoder", "weights_sha256", "fingerprint")
    attributes = {
        "format": layout.FORMAT, "format_version": 1, "block_rows": layout.BLOCK_ROWS,
        "preprocessing": "{}", "versions": "{}", **dict.fromkeys(texts, "-"),
    }  # fmt: skip
    name = "frames" if n_frames else "features"
    written, extents = skeleton(name, shapes, attributes)
    with open(path, "wb") as file:
        file.truncate(written.size)
        for at, data in [*written.pieces, (extents["class_index/offsets"][0], np.array([0, n, n]))]:
            os.pwrite(file.fileno(), data, at)
        if n_frames:
            os.pwrite(file.fileno(), np.array([n_frames]), extents["offsets"][0] + 8 * n)
    return extents


def peak_of_opening(path):
    tracemalloc.start()
    try:
        file = FeatureFile(path)
        return file, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_opening_costs_the_same_at_a_thousand_and_at_a_hundred_million_rows(tmp_path):
    sparse(tmp_path / "small.h5", 1000, 512)
    sparse(tmp_path / "large.h5", 10**8, 512)
    peak_of_opening(tmp_path / "small.h5")  # whatever is made once
    small, few = peak_of_opening(tmp_path / "small.h5")
    large, many = peak_of_opening(tmp_path / "large.h5")
    assert (len(small), len(large), large.features.shape) == (1000, 10**8, (10**8, 512))
    assert many < few + 4096
    assert large.features.nbytes > 10**11 and large.take(np.array([10**8 - 1])).sum() == 0


def test_arrays_are_views_of_one_map(file):
    assert np.shares_memory(file.features, file.features)
    assert np.shares_memory(file.ids, FeatureFile.array(file, "ids"))
    assert not file.features.flags.owndata and not file.features.flags.writeable
    assert not np.shares_memory(file.take(np.array([0])), file.features)  # a copy, as it says


def test_sequences_of_more_than_two_to_the_32_frames(tmp_path):
    n, n_frames, path = 5, (1 << 32) + 1000, tmp_path / "s.h5"
    extents = sparse(path, n, 2, n_frames)
    offsets = np.array([0, 1 << 31, (1 << 31) + 3, (1 << 32) + 1, (1 << 32) + 990, n_frames])
    last = np.arange(20, dtype="<f2").reshape(10, 2)
    with open(path, "r+b") as file:
        os.pwrite(file.fileno(), offsets, extents["offsets"][0])
        os.pwrite(file.fileno(), last, extents["frames"][0] + 4 * (n_frames - 10))
        os.pwrite(file.fileno(), last[:3], extents["frames"][0] + 4 * (1 << 31))
    found = FeatureFile(path)
    np.testing.assert_array_equal(found.frames[n_frames - 10 :], last)
    one, end = found.take(np.array([1, 4]))
    np.testing.assert_array_equal(one, last[:3])
    np.testing.assert_array_equal(end, last)
    assert np.shares_memory(end, found.frames)
    assert [len(part) for part in found.take(np.arange(5))] == np.diff(offsets).tolist()
