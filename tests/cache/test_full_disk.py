"""Disks that are really full: a small tmpfs, and a limit on the size of a file."""

import resource
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, XmgError
from xmg.cache.writing import disk
from xmg.cache.writing.lock import Lock

N, DIM = 3000, 64
LISTING = Listing([f"id{i}" for i in range(N)], [f"class{i % 50}" for i in range(N)])
ROWS = np.random.default_rng(0).normal(size=(N, DIM)).astype("f2")


def write(path, sequences):
    with FeatureWriter(path, synthetic.SPEC, LISTING, DIM, sequences=sequences) as writer:
        for first in range(0, N, 100):
            part = ROWS[first : first + 100]
            writer.put(first, [row[None] for row in part] if sequences else part)
    return FeatureFile(path)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 200 KiB, and the means to resize it."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", folder], capture_output=True, check=False
        )

    try:
        if mount("-o", "size=200k").returncode:
            pytest.skip("mounting a small disk needs root")
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    yield folder, lambda size: mount("-o", f"remount,size={size}k")
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_is_too_small_is_told_at_once(small_disk):
    folder, _ = small_disk
    with pytest.raises(XmgError, match=r"a\.h5 needs 384\.0 kB, and its disk has \d+\.\d kB free"):
        write(folder / "a.h5", sequences=False)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("sequences", [False, True])
def test_a_disk_that_fills_up_keeps_what_was_done(small_disk, tmp_path, sequences):
    """It grows by 40 KiB at a time: rows, tables and what HDF5 writes all meet its end."""
    folder, resize = small_disk
    whole = write(tmp_path / "whole.h5", sequences).path.read_bytes()
    failures, size = 0, 400 if sequences is False else 100
    while not (folder / "a.h5").exists():
        resize(size)
        size += 40
        try:
            write(folder / "a.h5", sequences)
        except XmgError as error:
            failures += 1
            assert "No space left on device" in str(error) or "free some" in str(error)
        assert failures < 100
    assert failures > 3
    assert (folder / "a.h5").read_bytes() == whole
    assert [path.name for path in folder.iterdir()] == ["a.h5"]


@contextmanager
def limited(n_bytes):
    """No file may be larger."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("limit", [1000, 14_000, 100_000, 396_500, 440_000])
def test_a_file_that_may_not_grow(tmp_path, sequences, limit):
    """As under a quota: the kernel itself cuts the write short and refuses the rest."""
    message = r"cannot write .*a\.h5: File too large"
    with limited(limit), pytest.raises(XmgError, match=message):
        write(tmp_path / "a.h5", sequences)
    assert not (tmp_path / "a.h5").exists()
    assert Path(write(tmp_path / "a.h5", sequences).path).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_small_file_that_may_not_grow(tmp_path):
    path = tmp_path / "config.json"
    disk.write_file(path, b"whole")
    with limited(1000), pytest.raises(OSError, match=r"File too large: '.*config\.json'$"):
        disk.write_file(path, bytes(2000))
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"whole"


def test_a_lock_that_cannot_be_written_says_where(small_disk):
    folder, _ = small_disk
    with suppress(OSError):
        (folder / "fill").write_bytes(bytes(400 << 10))
    with pytest.raises(OSError, match=r"No space left") as refused:
        Lock(folder / ".lock", folder / "run").acquire()
    assert refused.value.filename == str(folder / ".lock")
