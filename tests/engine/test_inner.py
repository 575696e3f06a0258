"""The two motions and CROMA's meta-iteration, step by step against float64 twins."""

from typing import get_args

import naive
import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.config import Loss, make_config
from xmg.engine.inner import clone, descend, reptile
from xmg.engine.methods import croma

PLACES = {"source": "s.h5", "target": "t.h5"}


def doubles(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def tensors(arrays):
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


@pytest.mark.parametrize("n_steps", [1, 2, 3, 20])
def test_descend_is_adam(n_steps):
    given = doubles(0, a=(3, 2), b=(2,), x=(5, 3))

    def twin(p):
        return np.sum((given["x"] @ p["a"] * p["b"]) ** 4) + np.sum(p["b"] ** 2)

    t = tensors(given)
    losses = descend(
        [t["a"], t["b"]],
        lambda: ((t["x"] @ t["a"] * t["b"]) ** 4).sum() + (t["b"] ** 2).sum(),
        n_steps,
        0.05,
    )
    start = {name: given[name] for name in ("a", "b")}
    for n in range(n_steps):
        before = naive.adam(start, twin, ["a", "b"], n, 0.05)
        assert losses[n] == pytest.approx(twin(before), rel=1e-9)
    after = naive.adam(start, twin, ["a", "b"], n_steps, 0.05)
    for name, value in after.items():
        npt.assert_allclose(t[name].detach().numpy(), value, rtol=1e-9, atol=1e-12)


def test_descend_starts_from_fresh_optimizer_state():
    once, twice = torch.ones(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    descend([once], lambda: once.pow(2).sum(), 2, 0.1)
    for _ in range(2):
        descend([twice], lambda: twice.pow(2).sum(), 1, 0.1)
    twin = {"x": np.ones(2)}
    for _ in range(2):
        twin = naive.adam(twin, lambda p: np.sum(p["x"] ** 2), ["x"], 1, 0.1)
    npt.assert_allclose(twice.detach().numpy(), twin["x"], rtol=1e-12)
    assert not torch.allclose(once, twice, rtol=0, atol=1e-6)


@given(st.floats(1e-3, 1), st.integers(0, 2**32))
def test_reptile(epsilon, seed):
    theta, task = doubles(seed, a=(3, 2), b=(4,)), doubles(seed + 1, a=(3, 2), b=(4,))
    moved = tensors(theta)
    reptile(moved, tensors(task), epsilon)
    for name, value in naive.reptile(theta, task, epsilon).items():
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-12, atol=1e-14)


def test_a_clone_is_apart():
    theta = tensors(doubles(0, a=(2,)))
    task = clone(theta)
    task["a"] += 1
    assert not torch.equal(theta["a"], task["a"])


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("inner_steps", [1, 4])
def test_meta_iteration(seed, inner_steps):
    config = make_config(
        **PLACES, n_way=3, k_shot=2, inner_steps=inner_steps, meta_step=0.3, tau=0.4,
        align_rate=0.02, classify_rate=0.05,
    )  # fmt: skip
    theta = doubles(seed, source=(3, 4), target=(2, 4), phi=(4, 3))
    data = doubles(seed + 9, source=(6, 3), target=(6, 2), negatives=(6, 5, 2), shots=(6, 3))
    data["labels"] = np.array([0, 0, 1, 1, 2, 2])
    moved = tensors(theta)
    losses = croma.meta_iteration(moved, croma.Episode(**tensors(data), n_sets=3), config)
    for name, value in naive.meta_iteration(theta, data, config).items():
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-8, atol=1e-11)
        assert not np.allclose(value, theta[name], atol=1e-4)  # all three learn
    assert set(losses) == {"align_loss", "classify_loss"}


@pytest.mark.parametrize("loss", get_args(Loss))
def test_the_configured_loss_is_reported_before_the_first_step(loss):
    config = make_config(**PLACES, n_way=2, loss=loss, margin=0.6, tau=0.3)
    theta = doubles(3, source=(3, 4), target=(2, 4), phi=(4, 2))
    data = doubles(4, source=(6, 3), target=(6, 2), negatives=(6, 2, 2), shots=(4, 3))
    data["labels"] = np.array([0, 0, 1, 1])
    rows = data["source"] @ theta["source"], data["target"] @ theta["target"]
    rows = [*rows, data["negatives"] @ theta["target"]]
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in rows]
    episode = croma.Episode(**tensors(data), n_sets=3)
    found = croma.meta_iteration(tensors(theta), episode, config)
    twin = naive.loss(loss, *unit, tau=0.3, margin=0.6, n_sets=3)
    assert found["align_loss"] == pytest.approx(twin, rel=1e-9)
