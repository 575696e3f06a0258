"""Fetched rows are the file's rows, whatever the width, the threads and the disk; no other row."""

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import naive
import numba
import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmg.cache import FeatureFile, XmgError
from xmg.engine import disk
from xmg.engine import fetch as module
from xmg.engine.episodes import draw_tasks
from xmg.engine.fetch import fetch, fetch_stored, n_threads_for
from xmg.engine.kernels.gather import gather
from xmg.engine.kernels.syscalls import announce_rows, read_rows
from xmg.engine.pool import pool_of

WORDS = [np.uint8, np.uint16, np.uint32, np.uint64]


def write(folder, n=9, dim=3, dtype="float16"):
    x = np.random.default_rng(dim).normal(size=(n, dim)).astype(dtype)
    return synthetic.write(folder / f"{dim}.h5", x, synthetic.names(n, 1), dtype=dtype), x


@given(
    st.integers(1, 9),
    st.integers(0, 200),
    st.lists(st.integers(-2, 12), max_size=12),
    st.sampled_from(WORDS),
)
def test_gather_twin(n, dim, rows, word):
    table = np.random.default_rng(n).integers(0, 256, (n, dim)).astype(word)
    out = np.full((len(rows), dim), 7, word)
    done, copied = naive.gather(table.tolist(), rows)
    assert gather(table, np.array(rows, np.int64), out) == done
    expected = copied if done == len(rows) else np.full_like(out, 7)  # nothing is half written
    npt.assert_array_equal(out, np.reshape(expected, out.shape))


@pytest.mark.parametrize("row", [-1, 9, 2**40, -(2**63), 2**63 - 1])
def test_rows_outside_the_table_are_not_read(row):
    table, out = np.ones((9, 4), np.uint64), np.zeros((3, 4), np.uint64)
    assert gather(table, np.array([0, row, 1]), out) == 1
    assert not out.any()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 8, 33])
def test_fetch(tmp_path, dim, dtype):
    file, x = write(tmp_path, dim=dim, dtype=dtype)
    rows = np.array([[3, 3, 0], [8, 1, 2]])
    stored, found = fetch_stored(file, rows), fetch(file, rows)
    assert stored.numpy().dtype == dtype and found.dtype == torch.float32
    npt.assert_array_equal(stored.numpy(), x[rows])
    npt.assert_array_equal(found.numpy(), x[rows].astype("f4"))


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_no_rows(tmp_path, shape):
    file, _ = write(tmp_path)
    assert fetch_stored(file, np.empty(shape, np.int64)).shape == (*shape, 3)


@given(st.lists(st.integers(0, 8), max_size=40), st.integers(1, 5))
def test_any_number_of_threads(tmp_path_factory, rows, n_threads):
    file, x = write(tmp_path_factory.mktemp("files"), dim=5)
    rows = np.array(rows, np.int64)
    npt.assert_array_equal(fetch_stored(file, rows, n_threads=n_threads).numpy(), x[rows])


def test_threads_pay_only_for_large_batches(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 4)
    assert [n_threads_for(mib << 20) for mib in (0, 1, 2, 3, 99)] == [1, 1, 2, 3, 4]


def test_two_threads_of_a_program_fetch_at_once(tmp_path):
    file, x = write(tmp_path, n=50, dim=7)
    draws = np.random.default_rng(0).integers(0, 50, (20, 64))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda rows: fetch_stored(file, rows, n_threads=3), draws))
    for rows, batch in zip(draws, found, strict=True):
        npt.assert_array_equal(batch.numpy(), x[rows])


def test_a_buffer_is_filled_again_and_again(tmp_path):
    file, x = write(tmp_path)
    out = torch.empty(2, 2, 3, dtype=torch.float16)
    for rows in (np.array([[0, 1], [2, 3]]), np.array([[8, 8], [1, 0]])):
        assert fetch_stored(file, rows, out) is out
        npt.assert_array_equal(out.numpy(), x[rows])


@pytest.mark.parametrize(
    "out", [torch.empty(2, 4).half(), torch.empty(2, 3), torch.empty(3, 2).half().T]
)
def test_a_buffer_that_does_not_fit(tmp_path, out):
    file, _ = write(tmp_path)
    with pytest.raises(ValueError, match="out is"):
        fetch_stored(file, np.array([0, 1]), out)


@pytest.mark.parametrize("row", [-1, 9, 2**62])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_row_outside_the_file_is_an_error(tmp_path, row, n_threads):
    file, _ = write(tmp_path)
    rows = np.array([0, 1, 2, 3, row])
    with pytest.raises(XmgError, match=rf"3\.h5 has 9 rows, and row {row} was"):
        fetch_stored(file, rows, n_threads=n_threads)


@pytest.mark.parametrize("row", [-1, 9, 2**40])
def test_a_damaged_class_index(tmp_path, row):
    whole, _ = write(tmp_path)
    with h5py.File(whole.path, "r+") as h5:
        h5["class_index/rows"][...] = row
    file = FeatureFile(whole.path)
    support, _ = draw_tasks(pool_of(file, file.classes), np.uint64(1), 0, (1, 2, 1, 0))
    with pytest.raises(XmgError, match=r"3\.h5 has 9 rows.*xmg cache verify"):
        fetch(file, support)


def test_a_damaged_class_index_where_recordings_are_looked_up(tmp_path):
    columns = {"recording": ["r"] * 6}
    whole = synthetic.write(
        tmp_path / "r.h5", np.ones((6, 2)), synthetic.names(3, 2), columns=columns
    )
    with h5py.File(whole.path, "r+") as h5:
        h5["class_index/rows"][4] = 2**40
    file = FeatureFile(whole.path)
    with pytest.raises(XmgError, match=r"r\.h5 is damaged"):
        pool_of(file, file.classes)


# From the disk -----------------------------------------------------------------------------


@pytest.fixture
def advised(monkeypatch):
    """Byte ranges that the system was told of."""
    ranges = []

    def rows_of(fd, offset, n_rows, rows, width):
        ranges.extend((offset + row * width, width) for row in rows.tolist())

    monkeypatch.setattr(disk, "announce_rows", rows_of)
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, at, n, kind: ranges.append((at, n)))
    return ranges


def settle():
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon:
            thread.join(10)


def fetch_for(file, rows, seconds, monkeypatch):
    """Fetch in a made-up time."""
    clock = iter([0.0, seconds])
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    return fetch_stored(file, np.array(rows))


def test_rows_in_memory_need_no_advice_after_the_first_batch(tmp_path, advised, monkeypatch):
    file, x = write(tmp_path)
    start = file.extents["features"][0]
    fetch_for(file, [2, 5], 1e-6, monkeypatch)
    assert advised == [(start + 12, 6), (start + 30, 6)]
    npt.assert_array_equal(fetch_for(file, [7], 1e-6, monkeypatch), x[[7]])
    assert len(advised) == 2


def test_rows_from_the_disk_are_announced_and_the_file_loaded_once(tmp_path, advised, monkeypatch):
    file, x = write(tmp_path)
    start = file.extents["features"][0]
    for _ in range(3):
        npt.assert_array_equal(fetch_for(file, [1, 2], 1.0, monkeypatch), x[[1, 2]])
        settle()
    assert advised.count((start + 6, 6)) == 3
    assert [at for at, n in advised if n > 6] == [start]  # the whole file in one step
    fetch_for(file, [1], 1e-6, monkeypatch)
    fetch_for(file, [3], 1.0, monkeypatch)
    assert (start + 18, 6) not in advised


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(disk, "free_memory", lambda: 100)


def test_a_file_that_does_not_fit_in_memory_is_not_loaded(
    tmp_path, advised, little_memory, monkeypatch
):
    file, _ = write(tmp_path)
    fetch_for(file, [1], 1.0, monkeypatch)
    settle()
    assert [n for _, n in advised] == [6]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [7, 1024])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_file_that_does_not_fit_in_memory_is_read(tmp_path, little_memory, dim, dtype, n_threads):
    file, x = write(tmp_path, dim=dim, dtype=dtype)
    rows = np.array([[3, 3, 0], [8, 1, 2]])
    assert not disk.disk_of(file).fits
    for _ in range(2):
        npt.assert_array_equal(fetch_stored(file, rows, n_threads=n_threads).numpy(), x[rows])
    with pytest.raises(XmgError, match="has 9 rows, and row -2 was"):
        fetch_stored(file, np.array([1, 2, 5, -2]), n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_disk_that_cannot_read(tmp_path, little_memory, n_threads):
    file, _ = write(tmp_path)
    fetch_stored(file, np.array([7]))
    os.truncate(file.path, file.extents["features"][0] + 6 * 7)
    with pytest.raises(XmgError, match=r"3\.h5: the disk cannot read row 7"):
        fetch_stored(file, np.array([1, 2, 5, 3, 4, 7]), n_threads=n_threads)


@given(st.integers(1, 9), st.integers(0, 20), st.lists(st.integers(-2, 12), max_size=9))
def test_read_rows_twin(tmp_path_factory, n, dim, rows):
    table = np.random.default_rng(n).integers(0, 2**16, (n, dim)).astype(np.uint16)
    path = tmp_path_factory.mktemp("rows") / "rows"
    path.write_bytes(b"before" + table.tobytes())
    out = np.full((len(rows), dim), 7, np.uint16)
    done, copied = naive.gather(table.tolist(), rows)
    with path.open("rb") as data:
        rows = np.array(rows, np.int64)
        assert read_rows(data.fileno(), 6, n, rows, out) == done
        announce_rows(data.fileno(), 6, n, rows, 2 * dim)
    expected = copied if done == len(rows) else np.full_like(out, 7)
    npt.assert_array_equal(out, np.reshape(expected, out.shape))


def test_a_file_that_was_replaced_is_read_from_its_map(tmp_path, little_memory):
    file, x = write(tmp_path)
    other = synthetic.write(tmp_path / "other.h5", 1 + x, synthetic.names(9, 1), dtype="float16")
    other.path.replace(file.path)
    assert disk.disk_of(file) is None
    npt.assert_array_equal(fetch_stored(file, np.array([4])).numpy(), x[[4]])


def test_a_file_that_was_moved_away_is_still_read(tmp_path):
    file, x = write(tmp_path)
    file.path.unlink()
    npt.assert_array_equal(fetch_stored(file, np.array([4])).numpy(), x[[4]])


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_behind_a_file(tmp_path):
    gc.collect()
    before = open_files()
    file, _ = write(tmp_path)
    fetch_stored(file, np.array([4]))
    assert open_files() > before
    del file
    gc.collect()
    assert open_files() == before


def test_free_memory():
    assert 0 < disk.free_memory() < 1 << 60
