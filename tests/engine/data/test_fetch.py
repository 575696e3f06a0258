"""Fetched rows are the file's rows, whatever the width, the threads and the disk; no other row."""

import gc
import mmap
import os
import resource
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
from xmg.engine.data import disk
from xmg.engine.data.episodes import draw_tasks
from xmg.engine.data.fetch import fetch, fetch_stored, n_threads_for
from xmg.engine.data.pool import pool_of
from xmg.engine.kernels.gather import gather, gather_together, take

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


@pytest.mark.parametrize("wrong", [None, 0, 700])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_batches_of_many_pieces(tmp_path, n_threads, wrong):
    """Of large rows a piece is a few; where a row is not there, nothing is written."""
    file, x = write(tmp_path, dim=40_000)
    rows, out = np.arange(701) % 9, torch.full((701, 40_000), 7.0, dtype=torch.float16)
    if wrong is None:
        fetch_stored(file, rows, out, n_threads)
        npt.assert_array_equal(out.numpy(), x[rows])
        return
    rows[wrong] = 9
    with pytest.raises(XmgError, match="row 9 was"):
        fetch_stored(file, rows, out, n_threads)
    assert (out == 7).all()


def test_threads_pay_only_for_large_batches(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 4)
    assert [n_threads_for(mib << 20) for mib in (0, 1, 2, 3, 99)] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize("n_threads", [1, 4])
def test_threads_share_the_rows_of_a_large_batch(n_threads):
    """Each piece is taken once, whoever comes first; a thread that comes late takes none."""
    rng = np.random.default_rng(0)
    table, rows = rng.integers(0, 2**60, (900, 1024)).astype(np.uint64), rng.integers(0, 900, 3000)
    out, taken = np.zeros((3000, 1024), np.uint64), np.zeros(1, np.int64)
    with ThreadPoolExecutor(n_threads) as pool:
        for future in [pool.submit(gather_together, table, rows, out, taken) for _ in range(4)]:
            future.result()
    npt.assert_array_equal(out, table[rows])
    assert taken[0] >= 3000
    out[:] = 7
    gather_together(table, rows, out, taken)
    assert (out == 7).all()


def test_numbers_are_taken_once_by_many_threads():
    taken = np.zeros(1, np.int64)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(_all_taken, taken, 20_000) for _ in range(8)]
        found = np.concatenate([future.result() for future in futures])
    npt.assert_array_equal(np.sort(found), np.arange(20_000))


@numba.njit(nogil=True)
def _all_taken(taken, stop):
    """What one thread gets by taking until nothing is left."""
    found = [0 for _ in range(0)]
    while True:
        number = take(taken, 1)
        if number >= stop:
            return np.array(found, np.int64)
        found.append(number)


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


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("row", [-1, 9, 2**40])
def test_a_damaged_class_index(tmp_path, row, sequences):
    x = np.ones((9, 4, 3) if sequences else (9, 3))
    names = synthetic.names(9, 1)
    whole = synthetic.write(tmp_path / "3.h5", x, names, sequences=sequences)
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

WILLNEED, RANDOM, NORMAL = mmap.MADV_WILLNEED, mmap.MADV_RANDOM, mmap.MADV_NORMAL


@pytest.fixture
def advised(monkeypatch):
    """(advice, first byte, number of bytes) that the system was told."""
    told, advise = [], FeatureFile.advise

    def tell(file, advice, start, n_bytes):
        told.append((advice, start, n_bytes))
        advise(file, advice, start, n_bytes)

    monkeypatch.setattr(FeatureFile, "advise", tell)
    return told


@pytest.fixture
def little_memory(monkeypatch):
    monkeypatch.setattr(disk, "free_memory", lambda: 100)


def test_a_batch_brings_its_rows_and_a_piece_of_the_file(tmp_path, advised, monkeypatch):
    monkeypatch.setattr(disk, "_ROW_SECONDS", -1)  # every row comes slowly
    monkeypatch.setattr(disk, "_PIECE", 12)
    monkeypatch.setattr(disk, "_STEP", 20)
    file, x = write(tmp_path)  # 9 rows of 6 bytes
    at = file.extents["features"][0]
    populate = disk._POPULATE
    load = lambda first, n: [(NORMAL, at + first, n), (populate, at + first, n)]  # noqa: E731
    told = {
        (2, 5): [
            (RANDOM, at, 54), (WILLNEED, at + 12, 6), (WILLNEED, at + 30, 6),
            *load(0, 20), *load(20, 4),
        ],
        (3, 7, -1): [(WILLNEED, at + 42, 6), *load(24, 20), *load(44, 10)],
        (1, 8): [],
    }  # fmt: skip
    for rows, expected in told.items():
        if -1 in rows:
            with pytest.raises(XmgError, match="row -1 was"):
                fetch_stored(file, np.array(rows))
        else:
            npt.assert_array_equal(fetch_stored(file, np.array(rows)).numpy(), x[list(rows)])
        assert advised == expected
        advised.clear()


@pytest.mark.parametrize(("seconds", "again"), [(-1, True), (9, False)])
def test_a_file_that_does_not_fit_in_memory_is_not_loaded(
    tmp_path, advised, little_memory, monkeypatch, seconds, again
):
    """And its rows are announced as long as they come slowly."""
    monkeypatch.setattr(disk, "_ROW_SECONDS", seconds)
    file, x = write(tmp_path)
    at = file.extents["features"][0]
    for _ in range(2):
        npt.assert_array_equal(fetch_stored(file, np.array([[1, 3]])).numpy(), x[[[1, 3]]])
    rows = [(WILLNEED, at + 6, 6), (WILLNEED, at + 18, 6)]
    assert advised == [(RANDOM, at, 54), *rows, *rows * again]


def test_a_system_that_cannot_fill_a_map(tmp_path, advised, monkeypatch):
    monkeypatch.setattr(disk, "_POPULATE", 12345)
    file, x = write(tmp_path)
    npt.assert_array_equal(fetch_stored(file, np.array([4])).numpy(), x[[4]])
    at = file.extents["features"][0]
    assert advised[2:] == [(NORMAL, at, 54), (12345, at, 54), (WILLNEED, at, 54)]


def test_a_system_that_takes_no_advice(tmp_path, advised, monkeypatch):
    monkeypatch.delattr(mmap, "MADV_RANDOM")
    file, x = write(tmp_path)
    npt.assert_array_equal(fetch_stored(file, np.array([4])).numpy(), x[[4]])
    assert not advised


def test_the_map_is_filled(tmp_path):
    """Every page, at the end of the file too: then a fault happens nowhere."""
    file, x = write(tmp_path, n=3000, dim=1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    fetch_stored(file, np.arange(0, 3000, 10))
    filled = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert int(file.features.view("u2").sum(dtype="u8")) == int(x.view("u2").sum(dtype="u8"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - filled < 300  # of 1,465 pages
    assert filled > before


def test_a_file_that_was_moved_away_is_still_read(tmp_path):
    file, x = write(tmp_path)
    file.path.unlink()
    npt.assert_array_equal(fetch_stored(file, np.array([4])).numpy(), x[[4]])


def test_threads_after_a_fork(tmp_path):
    """The child has none of its parent's threads, and copies all the same."""
    file, x = write(tmp_path, n=50, dim=7)
    rows = np.arange(50)[::-1].copy()
    fetch_stored(file, rows, n_threads=3)
    read, write_ = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(write_, fetch_stored(file, rows, n_threads=3).numpy().tobytes())
        finally:
            os._exit(0)
    os.close(write_)
    with open(read, "rb") as pipe:
        assert pipe.read() == x[rows].tobytes()
    os.waitpid(child, 0)


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_behind_a_file(tmp_path):
    gc.collect()
    before = open_files()
    file, _ = write(tmp_path)
    fetch_stored(file, np.array([4]))
    del file
    gc.collect()
    assert open_files() == before
