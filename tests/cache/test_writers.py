"""Several processes fill one file; two runs do not."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, RowWriter, XmgError

N, DIM, BLOCK, N_WRITERS = 400, 5, 16, 3
LISTING = Listing([f"id{i}" for i in range(N)], [f"c{i % 9}" for i in range(N)])
SPAWN = multiprocessing.get_context("spawn")


def outputs_of(kind, first):
    def one(i):
        if kind == "rejects" and i % 31 == 7:
            return Reject("bad")
        shape = (1 + i % 4, DIM) if kind == "sequences" else (DIM,)
        return np.random.default_rng(i).normal(size=shape).astype("f4")

    return [one(i) for i in range(first, first + BLOCK)]


def fill(folder, kind, firsts, name, dies=False):
    with RowWriter(folder, name) as part:
        for first in firsts:
            part.put(first, outputs_of(kind, first))
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)


def start(target, *arguments):
    process = SPAWN.Process(target=target, args=arguments)
    process.start()
    return process


def single(path, kind):
    with FeatureWriter(path, synthetic.SPEC, LISTING, DIM, sequences=kind == "sequences") as writer:
        for first in range(0, N, BLOCK):
            writer.put(first, outputs_of(kind, first))
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["dense", "rejects", "sequences"])
def test_processes_fill_disjoint_blocks(tmp_path, kind):
    """Three spawned processes take turns at blocks; the file is that of a single writer."""
    out = tmp_path / "many.h5"
    with FeatureWriter(out, synthetic.SPEC, LISTING, DIM, sequences=kind == "sequences") as writer:
        workers = [
            start(fill, writer.folder, kind, range(w * BLOCK, N, N_WRITERS * BLOCK), str(w))
            for w in range(N_WRITERS)
        ]
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
    assert out.read_bytes() == single(tmp_path / "single.h5", kind)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.h5", "single.h5"]


def test_a_worker_that_dies_costs_its_own_blocks_only(tmp_path):
    out, firsts = tmp_path / "a.h5", list(range(0, N, BLOCK))
    with (
        pytest.raises(XmgError, match=r"a\.h5: 112 listed inputs got no features"),
        FeatureWriter(out, synthetic.SPEC, LISTING, DIM) as writer,
    ):
        for w, dies in ((0, False), (1, True)):
            process = start(fill, writer.folder, "dense", firsts[w:18:2], str(w), dies)
            process.join()
            assert process.exitcode == (-signal.SIGKILL if dies else 0)
    assert not out.exists()
    with FeatureWriter(out, synthetic.SPEC, LISTING, DIM) as writer:
        assert np.flatnonzero(~writer.done).tolist() == list(range(288, N))
        for first in firsts[18:]:
            writer.put(first, outputs_of("dense", first))
    assert out.read_bytes() == single(tmp_path / "single.h5", "dense")


def test_two_writers_of_one_name(tmp_path):
    with (
        pytest.raises(XmgError, match=r"journal\.a is in use: each writer needs a name"),
        FeatureWriter(tmp_path / "a.h5", synthetic.SPEC, LISTING, DIM) as writer,
        RowWriter(writer.folder, "a"),
        RowWriter(writer.folder, "a"),
    ):
        pass


def test_a_writer_that_is_refused_holds_nothing(tmp_path):
    out = tmp_path / "a.h5"
    with FeatureWriter(out, synthetic.SPEC, LISTING, DIM) as writer:
        with RowWriter(writer.folder, "a"), pytest.raises(XmgError, match="in use"):
            RowWriter(writer.folder, "a")
        for first in range(0, N, 16):
            writer.put(first, outputs_of("dense", first))
    assert out.read_bytes() == single(tmp_path / "single.h5", "dense")


def test_the_file_waits_for_its_workers(tmp_path):
    def run():
        return FeatureWriter(tmp_path / "a.h5", synthetic.SPEC, LISTING, DIM)

    with pytest.raises(XmgError, match="worker processes still write to"), run() as writer:
        worker = RowWriter(writer.folder, "1")
        worker.put(0, outputs_of("dense", 0))
    with pytest.raises(XmgError, match="worker processes of an earlier run still write"), run():
        pass
    worker.close()
    with pytest.raises(XmgError, match="384 listed inputs"), run() as writer:
        assert writer.done.sum() == BLOCK


HOLDER = """
import sys, time
from pathlib import Path
import test_writers as t
with t.FeatureWriter(Path(sys.argv[1]), t.synthetic.SPEC, t.LISTING, t.DIM) as writer:
    writer.put(0, t.outputs_of("dense", 0))
    writer._rows.close()
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to the same output, and has one block on the disk."""
    paths = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "a.h5"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_run_is_told_who_writes_and_since_when(tmp_path, holder):
    host = socket.gethostname()
    with (
        pytest.raises(
            XmgError,
            match=rf"a\.h5 is being written by process {holder.pid} on {host}, begun \d+ s ago",
        ),
        FeatureWriter(tmp_path / "a.h5", synthetic.SPEC, LISTING, DIM),
    ):
        pass
    assert (tmp_path / "a.h5.partial" / "plan.json").exists()


def test_the_lock_of_a_dead_run_is_taken_over(tmp_path, holder):
    holder.kill()
    holder.wait()
    told: list[str] = []
    with FeatureWriter(
        tmp_path / "a.h5", synthetic.SPEC, LISTING, DIM, notify=told.append
    ) as writer:
        assert writer.done.sum() == BLOCK
        for first in range(0, N, BLOCK):
            writer.put(first, outputs_of("dense", first))
    assert told[0].startswith("going on: a run begun ")
    assert told[0].endswith("did 16 of 400 inputs")
    assert (tmp_path / "a.h5").read_bytes() == single(tmp_path / "single.h5", "dense")


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        ({"process": os.getpid(), "host": socket.gethostname()}, False),
        ({"process": 2**22 + 1, "host": socket.gethostname()}, True),  # over every pid there is
        ({"process": 1, "host": "another.example"}, False),
    ],
)
def test_a_disk_without_locks_goes_by_the_named_owner(tmp_path, monkeypatch, owner, free):
    def flock(fd, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / "a.h5.partial").mkdir()
    owner = {**owner, "since": time.time() - 7200}
    (tmp_path / "a.h5.partial" / "lock").write_text(json.dumps(owner))
    if free:
        assert FeatureFile(write_all(tmp_path / "a.h5"))
        return
    with pytest.raises(XmgError, match="begun 2 h ago"):
        write_all(tmp_path / "a.h5")


def write_all(path):
    single(path, "dense")
    return path
