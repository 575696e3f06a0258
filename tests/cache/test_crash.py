import json
import subprocess
import sys
from pathlib import Path

import faulty_disk
import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile, FeatureWriter, Listing, Reject, XmgError
from xmg.cache.writing import disk, rows

N, DIM, BATCH = 24, 3, 4
LISTING = Listing([f"id{i}" for i in range(N)], ["a", "b", None, "c"] * 6)


def outputs_of(kind, first, n):
    """What the encoder says of inputs first, ...: every 7th of "rejects" cannot be read."""
    if kind == "dense":
        return np.arange(first, first + n)[:, None] * np.ones(DIM, np.float32)
    if kind == "rejects":
        return [
            Reject("bad") if i % 7 == 3 else np.full(DIM, i, "f4") for i in range(first, first + n)
        ]
    return [
        Reject("bad") if i % 11 == 5 else np.full((1 + i % 3, DIM), i, "f4")
        for i in range(first, first + n)
    ]


def write(path, kind, told=None):
    """One run over all inputs, taking up what an earlier one left; returns the inputs it put."""
    put = []
    with FeatureWriter(
        path, synthetic.SPEC, LISTING, DIM, sequences=kind == "sequences",
        notify=(told if told is not None else []).append,
    ) as writer:  # fmt: skip
        for first in range(0, N, BATCH):
            if not writer.done[first : first + BATCH].all():
                writer.put(first, outputs_of(kind, first, BATCH))
                put.append(first)
    return put


@pytest.fixture(params=["dense", "rejects", "sequences"])
def kind(request):
    return request.param


@pytest.fixture(autouse=True)
def commit_each_batch(monkeypatch):
    monkeypatch.setattr(rows, "_COMMIT_SECONDS", 0)
    monkeypatch.setattr(rows, "_SEND_BYTES", 0)


@pytest.fixture
def whole(tmp_path, kind):
    """The bytes of a run that nothing interrupted."""
    (tmp_path / "reference").mkdir()
    write(tmp_path / "reference" / "a.h5", kind)
    return (tmp_path / "reference" / "a.h5").read_bytes()


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_power_cut_between_any_two_calls(tmp_path, kind, whole):
    """Cut after every single call; then the same command again must finish to the same bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with faulty_disk.simulated(folder) as counted:
        write(folder / "a.h5", kind)
    assert (folder / "a.h5").read_bytes() == whole
    assert counted.calls > 25
    saved = []
    for dies_at in range(counted.calls + 1):  # the last cut comes after all of them
        (folder / "a.h5").unlink(missing_ok=True)
        with faulty_disk.simulated(folder, dies_at):
            write(folder / "a.h5", kind)
        finished = (folder / "a.h5").exists()
        assert not finished or (folder / "a.h5").read_bytes() == whole
        saved.append(N if finished else N - BATCH * len(write(folder / "a.h5", kind)))
        assert (folder / "a.h5").read_bytes() == whole
    assert set(range(0, N + 1, BATCH)) <= set(saved)  # each batch is once the last one saved
    assert saved[-1] == N


def test_two_power_cuts(tmp_path, kind, whole):
    folder = tmp_path / "disk"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for first, second in rng.integers(5, 30, (15, 2)).tolist():
        (folder / "a.h5").unlink(missing_ok=True)
        for dies_at in (first, second):
            with faulty_disk.simulated(folder, dies_at):
                write(folder / "a.h5", kind)
        write(folder / "a.h5", kind)
        assert (folder / "a.h5").read_bytes() == whole


def test_a_disk_that_fills_up_at_any_byte(tmp_path, kind, whole):
    folder = tmp_path / "disk"
    folder.mkdir()
    with faulty_disk.full_after(10**9) as taken:
        write(folder / "a.h5", kind)
    for n_bytes in np.linspace(1, 0.9 * sum(taken), 40).astype(int).tolist():
        former = synthetic.write(folder / "a.h5", np.ones((2, 2)), ["x", "y"]).path.read_bytes()
        with (
            faulty_disk.full_after(n_bytes),
            pytest.raises(XmgError, match=r"cannot write .*a\.h5: No space left on device"),
        ):
            write(folder / "a.h5", kind)
        assert (folder / "a.h5").read_bytes() == former
        write(folder / "a.h5", kind)
        assert (folder / "a.h5").read_bytes() == whole
        assert leftovers(folder) == ["a.h5"]


@pytest.mark.parametrize("sequences", [False, True])
def test_killed_at_random_moments(tmp_path, sequences):
    """At least 30 `kill -9` for dense features and 30 for sequences, in a process of their own."""
    script = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "30", str(int(sequences))],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] >= 30
    assert result["partial_seen"] == 0
    assert result["other_bytes"] == 0
    assert result["finished"] >= 1
    assert result["encoded"] <= result["inputs"] + result["kills"] * result["in_flight"]


def test_assembly_that_shortened_the_rows_goes_on(tmp_path, monkeypatch):
    """Rejects at the end leave the rows' file shorter than the journal says, once it is framed."""
    path, dim = tmp_path / "a.h5", 1 << 15  # rows that weigh more than what HDF5 writes behind them
    told = []

    def run():
        with FeatureWriter(path, synthetic.SPEC, LISTING, dim, notify=told.append) as writer:
            for i in np.flatnonzero(~writer.done).tolist():
                writer.put(i, [np.full(dim, i, "f4") if i < N // 2 else Reject("bad")])

    def interrupted(source, target):
        if target == path:
            raise KeyboardInterrupt
        replace(source, target)

    replace = disk.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(disk, "replace", interrupted)
        run()
    run()
    assert told == [f"going on: an earlier run did {N} of {N} inputs"]
    assert len(FeatureFile(path)) == N // 2
