"""What each step reads, which negatives are hard, and FOMAML."""

import naive
import numpy as np
import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner.batched import descend_all
from xmg.engine.methods.croma import CROMA
from xmg.engine.training import meta_learn
from xmg.engine.training.phases import align, classify, head_of, mined, optimizer_of

PLACES = {"source": "s.h5", "target": "t.h5"}


def config_of(**settings):
    return make_config(**{**PLACES, "n_way": 3, "inner_steps": 3, "n_negatives": 2, **settings})


def episode_of(n_negatives, n_sets=3, k_pairs=2, k=2, seed=0):
    rng = torch.Generator().manual_seed(seed)
    n = n_sets * k_pairs

    def rows(m, d):
        return torch.randn(m, d, generator=rng, dtype=torch.float64)

    labels = torch.arange(3).repeat_interleave(k)
    return Episode(rows(n, 4), rows(n + n_negatives, 5), rows(3 * k, 4), labels, n_sets)


def theta_of(seed=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = {"source": (4, 6), "target": (5, 6), "phi": (6, 3)}
    return {n: torch.randn(s, generator=rng, dtype=torch.float64) for n, s in shapes.items()}


def test_each_step_has_negatives_of_its_own():
    phase = align(episode_of(6), config_of(negatives="step"))
    assert "source" not in phase.picks  # all pairs, each time
    picks = phase.picks["target"].tolist()
    assert picks == [[0, 1, 2, 3, 4, 5, 6 + 2 * t, 7 + 2 * t] for t in range(3)]
    assert_close(phase.read("target", 1), phase.rows["target"][picks[1]])


def test_all_steps_share_the_negatives_of_a_task():
    phase = align(episode_of(2), config_of(negatives="task"))
    assert not phase.picks and phase.objective.shared


def test_steps_take_turns_through_the_pairs():
    phase = align(episode_of(12), config_of(batch=3))
    assert phase.picks["source"].tolist() == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]
    own = [6 + 2 * pair + j for pair in (3, 4, 5) for j in (0, 1)]
    assert phase.picks["target"][1].tolist() == [3, 4, 5, *own]


def test_a_batch_of_shots_is_of_all_classes_alike():
    episode = episode_of(12, k=2)
    phase = classify(episode, config_of(batch=3))
    for t in range(3):
        assert sorted(episode.labels[phase.picks["source"][t]].tolist()) == [0, 1, 2]
        assert phase.objective.labels[t].tolist() == [0, 1, 2]
    assert sorted(phase.picks["source"][:2].flatten().tolist()) == list(range(6))


def test_fomaml_keeps_queries_for_the_end():
    episode = episode_of(12, k=4)
    phase = classify(episode, config_of(meta_gradient="fomaml"))
    *steps, queries = phase.picks["source"]
    assert all(set(step.tolist()).isdisjoint(queries.tolist()) for step in steps)
    assert sorted([*steps[0].tolist(), *queries.tolist()]) == list(range(12))
    assert sorted(phase.objective.labels[-1].tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("gap", [0.0, 0.2, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_hard_negatives_twin(gap, seed):
    config = config_of(hard=True, n_candidates=9, n_negatives=4, false_gap=gap)
    episode, theta = episode_of(9, seed=seed), theta_of(seed)
    found = mined(theta, episode, config)
    z_s = F.normalize(episode.source @ theta["source"], dim=1).numpy()
    z_t = F.normalize(episode.target @ theta["target"], dim=1).numpy()
    assert_close(found[:6], episode.target[:6])
    for i in range(6):
        cosines = (z_t[6:] @ z_s[i]).tolist()
        twin = naive.hardest(cosines, float(z_s[i] @ z_t[i]), gap, 4)
        npt.assert_array_equal(found[6 + 4 * i : 10 + 4 * i], episode.target[6:][twin])


def test_fomaml_is_the_gradient_where_the_task_ended():
    """By central differences of the loss on a further step, at the adapted parameters."""
    config = config_of(meta_gradient="fomaml", negatives="step", meta_step=0.5)
    episode, theta = episode_of(8, k=4), theta_of()
    task = meta_learn.adapt(theta, episode, CROMA.stages, config)
    aligned, _ = descend_all(
        {n: v[None] for n, v in theta.items()}, _stacked(align(episode, config)), 3,
        optimizer_of(config, config.align_rate),
    )  # fmt: skip
    after = {**theta, **{n: v[0] for n, v in aligned.items()}}
    expected = {n: np.zeros(v.shape) for n, v in theta.items()}
    for phase, at in ((align(episode, config), after), (classify(episode, config), task.theta)):
        _add_differences(expected, phase, at)
    for name, value in expected.items():
        npt.assert_allclose(task.gradient[name].numpy(), value, rtol=1e-5, atol=1e-7)
    moved = {n: v.clone() for n, v in theta.items()}
    meta_learn.meta_iteration(moved, {}, [episode], CROMA.stages, config)
    for name, value in moved.items():
        assert_close(value, theta[name] - 0.5 * task.gradient[name])


def _stacked(phase):
    rows = {name: value[None] for name, value in phase.rows.items()}
    return type(phase)(phase.heads, rows, phase.picks, phase.objective)


def _add_differences(total, phase, theta, h=1e-6):
    def loss(moved):
        y = {name: phase.read(name, 3) @ moved[name] for name in phase.heads}
        return phase.objective.loss({**moved, **y}, 3).item()

    for name in (*phase.heads, *phase.rest):
        for place in np.ndindex(tuple(theta[name].shape)):
            sides = []
            for sign in (1, -1):
                moved = {n: v.clone() for n, v in theta.items()}
                moved[name][place] += sign * h
                sides.append(loss(moved))
            total[name][place] += (sides[0] - sides[1]) / (2 * h)


SETTINGS = [
    {},
    {"negatives": "step", "batch": 3},
    {"hard": True, "n_candidates": 12},
    {"meta_gradient": "fomaml", "n_negatives": 2, "negatives": "task"},
    {"head": "mlp", "hidden": 7, "optimizer": "sgd", "momentum": 0.5},
    {"head": "residual", "rank": 2, "loss": "class-mean-hinge", "meta_optimizer": "adam"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_tasks_at_once_are_tasks_one_by_one(settings):
    config = config_of(**settings)
    n = {"step": 8, "task": 2, "pair": 12}[config.negatives]
    k = 4 if config.meta_gradient == "fomaml" else 2
    episodes = [episode_of(n, k=k, seed=seed) for seed in range(3)]
    rng = torch.Generator().manual_seed(0)
    head = head_of(config, "source")
    starts = torch.randn(9, 6, generator=rng, dtype=torch.float64).split([4, 5])
    theta = head.begin("source", starts[0], rng) | head.begin("target", starts[1], rng)
    theta["phi"] = torch.randn(6, 3, generator=rng, dtype=torch.float64)
    one, two = ({n: v.clone() for n, v in theta.items()} for _ in range(2))
    outer = meta_learn.outer_of(config)
    states = outer.begin(one), outer.begin(two)
    stacked = Episode(
        *(torch.stack([getattr(e, f) for e in episodes]) for f in ("source", "target", "shots")),
        episodes[0].labels, 3, stacked=True,
    )  # fmt: skip
    losses = meta_learn.meta_iteration(one, states[0], episodes, CROMA.stages, config)
    found = meta_learn.meta_step(
        two, states[1], stacked, CROMA.stages, config, outer.numbers(0, config.iterations)
    )
    for name, value in one.items():
        assert_close(two[name], value, rtol=1e-9, atol=1e-10)
    for name, values in found.items():
        assert_close(values.tolist(), [task[name] for task in losses])
