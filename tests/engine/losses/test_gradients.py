"""Gradients written out, against autograd; and what summing in another order costs."""

from typing import get_args

import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.config import LossName
from xmg.engine.kernels import gradients
from xmg.engine.kernels.gradients import through_unit, unit
from xmg.engine.losses.objectives import Alignment, Classification


def rows(seed, *shapes):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes]


def by_autograd(objective, y, t=0):
    leaves = {name: value.clone().requires_grad_() for name, value in y.items()}
    value = objective.loss(leaves, t)
    found = torch.autograd.grad(value, list(leaves.values()))
    return value.item(), dict(zip(leaves, found, strict=True))


def written_out(objective, y):
    """The kernels' loss, with its gradients by all of y."""
    arrays = [value.numpy() for value in y.values()]
    found = [np.empty_like(value) for value in arrays]
    if isinstance(objective, Alignment):
        unit_rows = [np.empty_like(value) for value in arrays]
        value = gradients.alignment(*arrays, *objective.settings, *unit_rows, *found)
    else:
        labels = objective.labels[0].numpy()
        value = gradients.classification(*arrays, labels, objective.tau, *found)
    return value, dict(zip(y, found, strict=True))


def check(objective, y):
    value, found = written_out(objective, y)
    expected, by_torch = by_autograd(objective, y)
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-14)
    for name, gradient in by_torch.items():
        npt.assert_allclose(found[name], gradient.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", get_args(LossName))
@given(
    st.integers(0, 2**31), st.integers(2, 4), st.integers(1, 3), st.integers(1, 4), st.booleans(),
    st.sampled_from([0.05, 0.3, 1.0]), st.sampled_from([0.1, 0.6]),
)  # fmt: skip
def test_alignment(name, seed, n_sets, k_pairs, k, shared, tau, margin):
    n = n_sets * k_pairs
    y_s, y_t = rows(seed, (n, 5), (n + (k if shared else n * k), 5))
    check(Alignment(name, tau, margin, n_sets, shared), {"source": y_s, "target": y_t})


@pytest.mark.parametrize("name", ["triplet-hard", "nce-margin", "info-nce"])
def test_equal_negatives_share_a_maximum_as_autograd_has_it(name):
    y_s, y_t = rows(3, (4, 5), (8, 5))
    y_t[5] = y_t[6]
    check(Alignment(name, 0.2, 2.0, 2, shared=True), {"source": y_s, "target": y_t})


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 5), st.sampled_from([0.05, 1.0]))
def test_classification(seed, n, n_way, tau):
    y, phi = rows(seed, (n, 4), (4, n_way))
    labels = torch.arange(n)[None] % n_way
    check(Classification(labels, tau), {"source": y, "phi": phi})


def test_a_loss_that_is_nan_stays_nan():
    """So that divergence is seen, whatever the hinge."""
    y_s, y_t = rows(0, (4, 5), (6, 5))
    y_s[1, 2] = torch.nan
    for name in get_args(LossName):
        value, _ = written_out(
            Alignment(name, 0.2, 0.1, 2, shared=True), {"source": y_s, "target": y_t}
        )
        assert np.isnan(value), name


@pytest.mark.parametrize("width", [1, 7, 256, 4096])
def test_sums_in_vector_order_are_as_good_as_in_sequence(width):
    """What `reassoc` and `contract` change: at most some units in the last place."""
    rng = np.random.default_rng(width)
    y, d = (rng.normal(size=(20, width)).astype("f4") for _ in range(2))
    exact = y.astype("f8") / np.linalg.norm(y.astype("f8"), axis=1, keepdims=True)
    z, norms = np.empty_like(y), np.empty(20, "f4")
    unit(y, z, norms)
    npt.assert_allclose(z, exact, rtol=5e-7, atol=1e-9)
    back = d.copy()
    through_unit(z, norms, back)
    scale = np.linalg.norm(y.astype("f8"), axis=1, keepdims=True)
    along = (d.astype("f8") * exact).sum(1, keepdims=True)
    npt.assert_allclose(back, (d - exact * along) / scale, atol=2e-6 * np.abs(back).max())


def test_a_row_of_zeros_is_left_at_zero():
    y, z, norms = np.zeros((1, 4)), np.ones((1, 4)), np.ones(1)
    unit(y, z, norms)
    assert not z.any() and norms[0] == 0
