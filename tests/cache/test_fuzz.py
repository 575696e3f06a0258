"""No damage to a feature file ends the process, hangs, or raises anything but XmgError."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import edits
import fuzz_worker
import h5py
import numpy as np
import pytest
import synthetic

LABELS = ["a", "b", None] * 2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dense and a sequence file, each with a column, and with or without a reject."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    dense = [*rng.normal(size=(5, 3)), np.full(3, np.nan)]
    sequences = [rng.normal(size=(i % 3 + 1, 2)) for i in range(6)]
    columns = {"speaker": list("xyzxyz")}
    synthetic.write(folder / "0.h5", dense, LABELS, columns=columns)
    synthetic.write(folder / "1.h5", sequences, LABELS, columns=columns, sequences=True)
    return folder


def fuzz(folder: Path, first: int, stop: int) -> list[tuple[int, str]]:
    """What is wrong, by number of the mutation; a process that dies is begun anew behind it."""
    problems = []
    while first < stop:
        command = [
            sys.executable,
            str(Path(fuzz_worker.__file__)),
            str(folder),
            f"{first}",
            f"{stop}",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [*problems, *json.loads((folder / "problems").read_text())]
        assert done.returncode < 0, done.stderr
        at = int((folder / "at").read_text())
        problems.append((at, f"died of {signal.Signals(-done.returncode).name}: {done.stderr}"))
        first = at + 1
    return problems


@pytest.mark.parametrize(
    ("first", "stop"),
    [(0, 10_000), pytest.param(10_000, 110_000, marks=pytest.mark.exhaustive)],
)
def test_mutations(whole, tmp_path, first, stop):
    for path in whole.iterdir():
        shutil.copy(path, tmp_path)
    assert fuzz(tmp_path, first, stop) == []


def test_edits_through_hdf5(whole, tmp_path):
    made = []
    for which in ("0.h5", "1.h5"):
        shutil.copy(whole / which, tmp_path)
        for name, edit in edits.edits():
            path = tmp_path / f"edited{len(made):05d}.h5"
            shutil.copy(whole / which, path)
            with h5py.File(path, "r+") as file:
                edit(file)
            made.append(f"{which}: {name}")
    assert len(made) > 1200
    assert [(made[i], wrong) for i, wrong in fuzz(tmp_path, -len(made), 0)] == []
