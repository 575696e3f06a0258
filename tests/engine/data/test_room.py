import re

import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.data import room
from xmg.engine.data.inputs import n_steps_drawn, step_size
from xmg.engine.data.problem import open_problem
from xmg.engine.train import meta_train
from xmg.engine.training.phases import _alignment_plan


@pytest.fixture
def files(tmp_path):
    return synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)


@pytest.mark.parametrize(
    "wanted",
    [
        {"width": 10**8}, {"n_repeats": 10**9}, {"n_tasks": 10**9}, {"n_validation": 10**9},
        {"k_pairs": 10**6}, {"n_negatives": 10**8}, {"meta_batch": 10**7},
        {"n_negatives": 10**5, "k_pairs": 10**5, "width": 10**7}, {"k_shot": 12, "width": 10**8},
        {"head": "mlp", "hidden": 10**8}, {"head": "residual", "rank": 10**9},
        {"hard": True, "n_candidates": 10**8, "n_sets": 2},
        {"negatives": "step", "n_negatives": 10**5, "inner_steps": 10**4, "n_sets": 2},
        {"inner_steps": 10**7}, {"inner_steps": 10**20, "n_sets": 2, "negatives": "task"},
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_a_fix_that_fits(files, monkeypatch, wanted):
    """By a machine of 4 GB."""
    monkeypatch.setattr(room, "free_memory", lambda: 4 * 10**9)
    config = synthetic.config_of(*files, **wanted)
    with pytest.raises(XmgError, match=r"GB of memory at least, and 4\.0 GB are free") as error:
        room.check_room(open_problem(config), config)
    said, fix = str(error.value).split("fix: ")
    lowered = {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", fix)}
    assert lowered and all(f"{name} = {wanted[name]}" in said for name in lowered)
    config = synthetic.config_of(*files, **{**wanted, **lowered})
    room.check_room(open_problem(config), config)


def test_nothing_is_written_before(tmp_path, files):
    with pytest.raises(XmgError, match="width = 1000000000000 would take"):
        meta_train(synthetic.config_of(*files, width=10**12), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ordinary_settings_need_little(files):
    config = synthetic.config_of(*files, width=256, n_tasks=8, n_repeats=10, shots=(1, 5, 10))
    assert room.needed(config, (2048, 768)) < 10**9


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"batch": 4}, {"batch": 99}, {"negatives": "step"}, {"negatives": "task", "batch": 2},
        {"hard": True, "n_candidates": 9}, {"meta_gradient": "fomaml"},
        {"meta_gradient": "fomaml", "negatives": "step", "batch": 2},
    ],
)  # fmt: skip
def test_the_plan_of_the_steps_is_counted_as_it_is_made(files, settings):
    config = synthetic.config_of(*files, n_negatives=3, inner_steps=4, **settings)
    plan = _alignment_plan(
        8, step_size(config, 8), n_steps_drawn(config), config.negatives, 3, "cpu"
    )
    assert room._planned(config, 8) == sum(part.numel() for part in plan)


def test_where_the_system_does_not_tell_nothing_is_refused(files, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 0)
    config = synthetic.config_of(*files, width=10**9)
    room.check_room(open_problem(config), config)


def test_where_no_setting_is_to_blame_the_machine_is(files, monkeypatch):
    monkeypatch.setattr(room, "free_memory", lambda: 10**4)
    config = synthetic.config_of(*files)
    with pytest.raises(XmgError, match=r"these settings would.*\nfix: end what else runs"):
        room.check_room(open_problem(config), config)
