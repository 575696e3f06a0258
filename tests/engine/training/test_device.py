"""Batches of tasks on a device: the same result with features held there or read when needed.

Where there is no CUDA device, all runs on the CPU but the capture of the graph.
"""

import numpy as np
import pytest
import synthetic
import torch
from torch.testing import assert_close

from xmg.cache import XmgError
from xmg.engine.data import sides
from xmg.engine.data.fetch import fetch
from xmg.engine.data.inputs import draw_rows
from xmg.engine.data.problem import open_problem
from xmg.engine.data.sides import Side, Sides
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.run import load_state
from xmg.engine.train import meta_train
from xmg.engine.training.device import captured


@pytest.fixture
def files(tmp_path):
    return synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)


def config_of(files, **settings):
    small = {"iterations": 5, "inner_steps": 2, "k_pairs": 1, "width": 8, "meta_batch": 3}
    return synthetic.config_of(*files, **{**small, "solver": "batched", **settings})


@pytest.fixture
def held(monkeypatch):
    monkeypatch.setattr(sides, "_room", lambda _: 1e12)


def test_held_rows_are_the_whitened_rows(files, held, monkeypatch):
    monkeypatch.setattr(sides, "_BLOCK", 7)
    config = config_of(files)
    train = open_problem(config).train
    fronts = fit_fronts(train, config.width)[0]
    both = Sides.on(torch.device("cpu"), train, fronts)
    assert both.source.table is not None and len(both.target.table) == 120
    drawn = [draw_rows(train, config, j) for j in range(3)]
    stacked = both.stacked(drawn, config)
    for t, one in enumerate(drawn):
        alone = both.episode(one, config)
        source, target = train.source.file, train.target
        for part, file, front in (
            ("source", source, fronts.source),
            ("target", target, fronts.target),
            ("shots", source, fronts.source),
        ):
            expected = front(fetch(file, getattr(one, part)))
            assert_close(getattr(stacked, part)[t], expected)
            assert_close(getattr(alone, part), expected)
    assert torch.equal(stacked.labels, alone.labels) and stacked.n_pairs == alone.n_pairs


@pytest.mark.parametrize(
    ("system", "solver"),
    [
        ("croma", "batched"),
        ("croma", "auto"),
        ("weak-labels", "auto"),
        ("shared-target-labels", "auto"),
    ],
)
def test_holding_features_does_not_change_a_run(tmp_path, files, held, monkeypatch, system, solver):
    config = config_of(files, system=system, solver=solver)
    one = meta_train(config, tmp_path / "held")
    monkeypatch.setattr(sides, "_room", lambda _: 0)
    two = meta_train(config, tmp_path / "read")
    for name, value in one.theta.items():
        assert_close(two.theta[name], value)


def test_features_beyond_the_room_are_read(files, monkeypatch):
    config = config_of(files)
    train = open_problem(config).train
    fronts = fit_fronts(train, config.width)[0]
    n_bytes = 120 * fronts.target.offset.numel() * 4
    for room, held in ((n_bytes, True), (n_bytes - 1, False)):
        monkeypatch.setattr(sides, "_room", lambda _, room=room: room)
        side = Side.on(torch.device("cpu"), train.target, fronts.target)
        assert (side.table is not None) is held


@pytest.mark.parametrize("row", [-1, 120, 2**40])
@pytest.mark.parametrize("held", [True, False])
def test_a_row_that_the_file_lacks_is_refused(files, monkeypatch, row, held):
    config = config_of(files)
    train = open_problem(config).train
    monkeypatch.setattr(sides, "_room", lambda _: 1e12 if held else 0)
    side = Side.on(torch.device("cpu"), train.target, fit_fronts(train, config.width)[0].target)
    with pytest.raises(XmgError, match=rf"120 rows, and row {row} was asked for"):
        side.read(np.array([3, row]))


def test_without_cuda_the_step_is_run_as_it_is():
    def step():
        return {}

    assert captured(step, {"a": torch.zeros(1)}) is step


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("meta_optimizer", ["sgd", "adam"])
def test_a_run_on_cuda_is_that_on_the_cpu(tmp_path, files, meta_optimizer):
    settings = {"meta_optimizer": meta_optimizer, "meta_step": 0.1, "meta_schedule": "linear"}
    meta_train(config_of(files, **settings), tmp_path / "cpu")
    meta_train(config_of(files, device="cuda", **settings), tmp_path / "cuda")
    one, two = (load_state(tmp_path / run / "last.safetensors") for run in ("cpu", "cuda"))
    for name, value in one.theta.items():
        assert_close(two.theta[name], value, rtol=1e-3, atol=1e-3)
