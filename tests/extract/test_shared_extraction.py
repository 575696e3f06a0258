"""Extraction by processes of torchrun: the same file, also after one of them has died."""

import os
import subprocess
import sys

import numpy as np
import pytest

from xmg.cache import FeatureFile

pytestmark = pytest.mark.slow

# Float arithmetic whose result depends on the batch, and a process that dies on request.
MODULE = """
import os, signal, time
import numpy as np

class Encoder:
    name, modality, dim, sequences, batch_size = "batched", "text", 8, {sequences}, 5
    weights_sha256, preprocessing = "", {{"a": 1}}
    def __init__(self):
        self.batches = 0
    def decode(self, content):
        if content.endswith("3"):
            raise ValueError("a bad one")
        return np.random.default_rng(len(content)).normal(size=8).astype("f4") * int(content[4:])
    def encode(self, batch):
        self.batches += 1
        if "DIES" in os.environ:
            time.sleep(0.3)  # slow enough for rows to be on the disk by then
            if os.environ["RANK"] == os.environ["DIES"] and self.batches > 12:
                os.kill(os.getpid(), signal.SIGKILL)
        x = np.stack(batch)
        x = np.tanh(x / x.std() / 3)
        return [np.stack([row] * (1 + i % 3)) for i, row in enumerate(x)] if self.sequences else x

def load():
    return Encoder()
"""


def launch(folder, out, n, **environment):
    """Run xmg extract in n processes, or plainly for n = 0."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                f"--nproc-per-node={n}", "-m"]  # fmt: skip
    words = "xmg.cli.main", "extract", "texts.csv", "-e", "mine:load", "-o", out
    command = [*(torchrun if n else [sys.executable, "-m"]), *words]
    return subprocess.run(
        command, cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1" if n else "2"} | environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, request):
    sequences = getattr(request, "param", False)
    lines = "".join(f"id{i},text{i},class{i % 7}\n" for i in range(203))
    (tmp_path / "texts.csv").write_text("id,text,label\n" + lines)
    (tmp_path / "mine.py").write_text(MODULE.format(sequences=sequences))
    assert launch(tmp_path, "alone.h5", 0).returncode == 0
    return tmp_path


BOTH = pytest.mark.parametrize("folder", [False, True], ids=["dense", "sequences"], indirect=True)


@pytest.mark.parametrize("n", [2, 4])
def test_the_file_is_that_of_one_process(folder, n):
    found = launch(folder, "shared.h5", n)
    assert found.returncode == 0, found.stderr
    assert (folder / "shared.h5").read_bytes() == (folder / "alone.h5").read_bytes()
    assert found.stdout.count("shared.h5: ") == 1
    assert len(FeatureFile(folder / "shared.h5").rejects) == 20
    again = launch(folder, "shared.h5", n)
    assert again.returncode == 0 and again.stderr.count("nothing to do") == 1
    assert sorted(p.suffix for p in folder.iterdir() if p.is_file()) == [
        ".csv",
        ".h5",
        ".h5",
        ".py",
    ]


@BOTH
def test_one_dies_half_way_and_the_next_run_goes_on(folder):
    assert launch(folder, "shared.h5", 2, DIES="1").returncode != 0
    assert not (folder / "shared.h5").exists()
    assert (folder / "shared.h5.partial").is_dir()
    found = launch(folder, "shared.h5", 4)
    assert found.returncode == 0, found.stderr
    assert "going on: " in found.stderr
    assert (folder / "shared.h5").read_bytes() == (folder / "alone.h5").read_bytes()


def test_an_error_is_every_ones(folder):
    (folder / "taken.h5").write_bytes((folder / "alone.h5").read_bytes())
    with open(folder / "texts.csv", "a") as file:
        file.write("more,text77,class1\n")
    found = launch(folder, "taken.h5", 2)
    assert found.returncode == 1
    assert "error: taken.h5 holds other features" in found.stderr
    assert "[rank 1] error: taken.h5 holds other features" in found.stderr


def test_an_update_is_shared_too(folder):
    with open(folder / "texts.csv", "a") as file:
        file.writelines(f"more{i},text{i},class1\n" for i in range(50, 90))
    words = launch(folder, "whole.h5", 0)
    assert words.returncode == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               "-m", "xmg.cli.main", "extract", "texts.csv", "-e", "mine:load", "-o", "alone.h5",
               "--update"]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    assert len(FeatureFile(folder / "alone.h5")) == len(FeatureFile(folder / "whole.h5"))
    assert np.isin(FeatureFile(folder / "alone.h5").ids, FeatureFile(folder / "whole.h5").ids).all()
