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
from xmg.engine.inner import reference, span
from xmg.engine.inner.choose import solver_of
from xmg.engine.inner.meta import clone, reptile
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.methods import croma

PLACES = {"source": "s.h5", "target": "t.h5"}


def doubles(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def tensors(arrays):
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


def quartic(x):
    """A phase with a head `a` and a dense parameter `b`, and its twin."""

    def twin(p):
        return np.sum((x @ p["a"] * p["b"]) ** 4) + np.sum(p["b"] ** 2)

    def loss(y):
        return ((y["a"] * y["b"]) ** 4).sum() + (y["b"] ** 2).sum()

    return Phase({"a": torch.from_numpy(x)}, ("b",), loss), twin


ADAM = Optimizer("adam", 0.05)
SGD = [Optimizer("sgd", 1e-4), Optimizer("sgd", 1e-4, 0.9), Optimizer("sgd", 1e-4, 0.5, 0.1)]


def stepped(start, twin, n_steps, optimizer):
    if optimizer.kind == "adam":
        return naive.adam(start, twin, ["a", "b"], n_steps, optimizer.rate)
    constants = optimizer.rate, optimizer.momentum, optimizer.weight_decay
    return naive.sgd(start, twin, ["a", "b"], n_steps, *constants)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 10])
@pytest.mark.parametrize("optimizer", [ADAM, *SGD])
def test_descend_is_the_optimizer(n_steps, optimizer):
    given = doubles(0, a=(3, 2), b=(2,), x=(5, 3))
    phase, twin = quartic(given["x"])
    theta = tensors({name: given[name] for name in ("a", "b")})
    losses = reference.descend(theta, phase, n_steps, optimizer)
    start = {name: given[name] for name in ("a", "b")}
    for n in range(n_steps):
        assert losses[n] == pytest.approx(twin(stepped(start, twin, n, optimizer)), rel=1e-9)
    for name, value in stepped(start, twin, n_steps, optimizer).items():
        assert not theta[name].requires_grad
        npt.assert_allclose(theta[name].numpy(), value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("solver", "optimizer"), [(reference, ADAM), (reference, SGD[1]), (span, SGD[1])]
)
def test_a_phase_starts_from_fresh_optimizer_state(solver, optimizer):
    given = doubles(0, a=(3, 2), b=(2,), x=(2, 3))
    phase, twin = quartic(given["x"])
    theta = tensors({name: given[name] for name in ("a", "b")})
    expected = {name: given[name] for name in ("a", "b")}
    for _ in range(3):
        solver.descend(theta, phase, 2, optimizer)
        expected = stepped(expected, twin, 2, optimizer)
    for name, value in expected.items():
        npt.assert_allclose(theta[name].numpy(), value, rtol=1e-9, atol=1e-12)


sizes = st.integers(1, 7)


@st.composite
def tasks(draw, dtype=torch.float64):
    """CROMA's two phases over random shapes, losses and SGD settings."""
    n_sets, k_pairs, k = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    d_s, d_t, w, n_way, n_shots = draw(sizes), draw(sizes), draw(st.integers(2, 6)), 3, 4
    n = n_sets * k_pairs
    data = doubles(
        draw(st.integers(0, 2**32)), source=(n, d_s), target=(n, d_t), negatives=(n, k, d_t),
        shots=(n_shots, d_s),
    )  # fmt: skip
    theta = doubles(draw(st.integers(0, 2**32)), source=(d_s, w), target=(d_t, w), phi=(w, n_way))
    config = make_config(
        **PLACES, n_way=n_way, optimizer="sgd", loss=draw(st.sampled_from(get_args(Loss))),
        momentum=draw(st.sampled_from([0, 0.5, 0.9])), margin=draw(st.sampled_from([0.1, 0.7])),
        weight_decay=draw(st.sampled_from([0, 0.01, 0.3])), tau=draw(st.sampled_from([0.1, 1.0])),
    )  # fmt: skip
    episode = {name: value.to(dtype) for name, value in tensors(data).items()}
    episode = croma.Episode(**episode, labels=torch.arange(n_shots) % n_way, n_sets=n_sets)
    phase = draw(st.sampled_from([croma.align, croma.classify]))(episode, config)
    theta = {name: value.to(dtype) for name, value in tensors(theta).items()}
    rate = draw(st.sampled_from([1e-3, 0.02, 0.1]))
    return theta, phase, Optimizer("sgd", rate, config.momentum, config.weight_decay)


@given(tasks(), st.integers(1, 6))
def test_span_is_the_reference_step_by_step(task, n_steps):
    theta, phase, optimizer = task
    for n in range(1, n_steps + 1):
        one, two = clone(theta), clone(theta)
        expected = reference.descend(one, phase, n, optimizer)
        npt.assert_allclose(
            span.descend(two, phase, n, optimizer), expected, atol=1e-10, rtol=1e-10
        )
        for name, value in one.items():
            npt.assert_allclose(two[name].numpy(), value.numpy(), atol=1e-10, rtol=1e-10)


@given(tasks(torch.float32), st.integers(1, 6))
def test_span_in_single_precision(task, n_steps):
    """Within 2e-3 of the scale of the reference's parameters, hinges and all."""
    theta, phase, optimizer = task
    one, two = clone(theta), clone(theta)
    reference.descend(one, phase, n_steps, optimizer)
    span.descend(two, phase, n_steps, optimizer)
    for name, value in one.items():
        npt.assert_allclose(two[name].numpy(), value.numpy(), atol=2e-3 * float(value.abs().max()))


@pytest.mark.parametrize(
    ("n", "d", "kind", "name"),
    [(3, 4, "sgd", "span"), (4, 4, "sgd", "reference"), (3, 4, "adam", "reference")],
)
def test_the_solver_chosen_is_exact_and_fast(n, d, kind, name):
    phase, _ = quartic(doubles(0, x=(n, d))["x"])
    assert solver_of(phase, Optimizer(kind, 0.1))[0] == name


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
