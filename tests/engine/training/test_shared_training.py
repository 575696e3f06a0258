"""Meta-training by processes of torchrun: the parameters of one process."""

import json
import os
import subprocess
import sys

import pytest
import synthetic
import torch

from xmg.cache import XmgError
from xmg.cache.ranks import Ranks
from xmg.engine.config import make_config
from xmg.engine.run import BEST, LAST, load_state, read_metrics
from xmg.engine.training.ranks import joined
from xmg.extract.ranks import joined as joined_to_extract

SETTINGS = {"n_way": 3, "n_query": 4, "shots": [1, 3], "iterations": 12, "validate_every": 4,
            "n_validation": 4, "width": 6, "n_sets": 4, "n_negatives": 4, "k_shot": 3,
            "meta_batch": 4, "start": "identity", "front_shrinkage": 0.1}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    synthetic.write_pair(tmp_path, n_classes=30)
    return tmp_path


def launch(folder, run, n, more=(), **settings):
    """Run xmg meta-train in n processes, or plainly for n = 0."""
    lines = [f"{k} = {json.dumps(v)}" for k, v in {**SETTINGS, **settings}.items()]
    (folder / "c.toml").write_text("\n".join(lines))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                f"--nproc-per-node={n}", "-m"]  # fmt: skip
    words = "xmg.cli.main", "meta-train", "source.h5", "target.h5", "-r", run, "--config", "c.toml"
    return subprocess.run(
        [*(torchrun if n else [sys.executable, "-m"]), *words, *more], cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def same(one, two):
    for part in ("theta", "outer"):
        a, b = getattr(one, part), getattr(two, part)
        assert a.keys() == b.keys()
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "settings"),
    [
        (2, {}),
        (4, {"meta_optimizer": "momentum", "meta_gradient": "fomaml"}),
        (2, {"solver": "batched"}),
    ],
)
def test_the_parameters_are_those_of_one_process(folder, n, settings):
    assert launch(folder, "alone", 0, **settings).returncode == 0
    found = launch(folder, "shared", n, **settings)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("best at meta-iteration") == 1
    for name in (LAST, BEST):
        same(load_state(folder / "alone" / name), load_state(folder / "shared" / name))
    for a, b in zip(*(read_metrics(folder / run) for run in ("alone", "shared")), strict=True):
        assert a["iteration"] == b["iteration"]
        if "align_loss" in a:
            assert a["align_loss"] == pytest.approx(b["align_loss"], rel=1e-4)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_in_other_numbers(folder):
    """Cut short in four processes, continued in two: as one process from end to end."""
    assert launch(folder, "alone", 0, iterations=24).returncode == 0
    assert launch(folder, "shared", 4, iterations=24).returncode == 0
    half = folder / "half"
    half.mkdir()
    for name in ("config.json", "episodes.json"):
        (half / name).write_bytes((folder / "shared" / name).read_bytes())
    rows = read_metrics(folder / "shared")
    (half / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:4]))
    cut = launch(folder, "cut", 4, iterations=12)
    assert cut.returncode == 0, cut.stderr
    for name in (LAST, BEST):
        (half / name).write_bytes((folder / "cut" / name).read_bytes())
    found = launch(folder, "half", 2, iterations=24)
    assert found.returncode == 0, found.stderr
    same(load_state(folder / "alone" / LAST), load_state(half / LAST))


@pytest.mark.parametrize(
    ("settings", "ordinary", "message"),
    [
        ({"meta_batch": 3}, False, "a meta-batch of 3 cannot be split evenly over 2 processes"),
        ({"meta_batch": 4}, True, "croma trains on one task after the other"),
    ],
)
def test_what_cannot_be_shared(monkeypatch, settings, ordinary, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = make_config(source="s.h5", target="t.h5", **settings)
    with pytest.raises(XmgError, match=message):
        joined(config, ordinary)
    monkeypatch.delenv("WORLD_SIZE")
    assert joined(config, ordinary) == Ranks()


@pytest.mark.parametrize(
    ("size", "message"),
    [("two", "WORLD_SIZE is 'two', and has"), ("0", "is '0', and"), ("2", "cannot meet: .*RANK ")],
)
def test_a_size_that_is_not_of_torchrun(monkeypatch, size, message):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    config = make_config(source="s.h5", target="t.h5", meta_batch=4)
    for join in (joined_to_extract, lambda: joined(config, False)):
        with pytest.raises(XmgError, match=f"{message}.*fix: .*unset WORLD_SIZE"):
            join()


def test_a_rank_beyond_the_size(monkeypatch):
    """It would wait for ever, for a place that nobody keeps."""
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "2"), ("MASTER_ADDR", "localhost"),
                        ("MASTER_PORT", "1")):  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(XmgError, match=r"RANK is 2, and WORLD_SIZE 2: ranks are 0 to 1\..*fix: "):
        joined_to_extract()


@pytest.mark.slow
def test_an_error_of_the_first_is_every_ones(folder):
    (folder / "shared").write_text("a file")
    found = launch(folder, "shared", 2)
    assert found.returncode == 1
    assert found.stderr.count("exists and is no run folder") == 2
