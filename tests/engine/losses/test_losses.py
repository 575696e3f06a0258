import math
from typing import get_args

import naive
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.config import LossName
from xmg.engine.losses.contrastive import (
    alignment_loss,
    class_mean_hinge,
    info_nce,
    nce_logistic,
    nce_margin,
    sigmoid,
    triplet_hard,
)

CASES = [
    (info_nce, naive.info_nce, 0.1),
    (nce_margin, naive.nce_margin, 0.1),
    (nce_margin, naive.nce_margin, 1.5),
    (nce_logistic, naive.nce_logistic, 0.1),
    (nce_logistic, naive.nce_logistic, 1.0),
    (sigmoid, naive.sigmoid, 0.1),
    (sigmoid, naive.sigmoid, 1.0),
]


def unit_rows(seed, b=4, k=3, d=5):
    generator = torch.Generator().manual_seed(seed)
    shapes = (b, d), (b, d), (b, k, d)
    drawn = (torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)
    return tuple(F.normalize(x, dim=-1) for x in drawn)


@pytest.mark.parametrize(("loss", "twin", "constant"), CASES)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 5))
def test_twin(loss, twin, constant, seed, b, k):
    z = unit_rows(seed, b, k)
    expected = twin(*(part.tolist() for part in z), constant)
    assert loss(*z, constant).item() == pytest.approx(expected, rel=1e-12, abs=1e-15)


@given(
    st.integers(0, 2**32), st.integers(2, 4), st.integers(1, 3), st.integers(1, 5),
    st.floats(0, 2),
)  # fmt: skip
def test_twins_by_set(seed, n_sets, k_pairs, k, margin):
    z = unit_rows(seed, n_sets * k_pairs, k)
    plain = [part.tolist() for part in z]
    expected = naive.triplet_hard(*plain, margin, n_sets)
    assert triplet_hard(*z, margin, n_sets).item() == pytest.approx(expected, rel=1e-12, abs=1e-15)
    expected = naive.class_mean_hinge(*plain[:2], margin, n_sets)
    found = class_mean_hinge(*z[:2], margin, n_sets).item()
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", get_args(LossName))
def test_gradient(name):
    z = [part.requires_grad_() for part in unit_rows(0)]
    loss = alignment_loss(name, tau=0.3, margin=0.3, n_sets=2)
    assert torch.autograd.gradcheck(loss, z)
    assert loss(*z) > 0


@pytest.mark.parametrize("k", [1, 7])
def test_all_rows_agree(k):
    z = F.normalize(torch.ones(3, 5, dtype=torch.float64), dim=-1)
    n = z[:, None].expand(3, k, 5)
    assert info_nce(z, z, n, 0.1).item() == pytest.approx(math.log(1 + k), rel=1e-12)
    assert nce_margin(z, z, n, 0.25).item() == pytest.approx(0.25, rel=1e-12)
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(2))
    assert nce_logistic(z, z, n, 0.5).item() == pytest.approx(expected, rel=1e-12)
    assert triplet_hard(z, z, n, 0.25, 3).item() == pytest.approx(0.5, rel=1e-12)
    assert class_mean_hinge(z, z, 0.25, 3).item() == pytest.approx(0.25, rel=1e-12)
    expected = math.log1p(k * math.exp(-2)) + k * math.log1p(math.exp(2) / k)
    assert sigmoid(z, z, n, 0.5).item() == pytest.approx(expected, rel=1e-12)


def test_perfect_alignment_costs_nothing():
    z = torch.eye(4, dtype=torch.float64)[:2]
    n = -z[:, None]
    assert info_nce(z, z, n, 0.01).item() == pytest.approx(0, abs=1e-12)
    assert nce_margin(z, z, n, 0.1).item() == 0
    assert nce_logistic(z, z, n, 0.01).item() == pytest.approx(0, abs=1e-12)
    assert sigmoid(z, z, n, 0.01).item() == pytest.approx(0, abs=1e-12)
    assert triplet_hard(z, z, n, 0.1, 2).item() == 0
    assert class_mean_hinge(z, z, 0.1, 2).item() == 0


def test_small_temperatures_stay_finite():
    z = [part.float() for part in unit_rows(1)]
    for loss in (info_nce, nce_logistic, sigmoid):
        assert torch.isfinite(loss(*z, 1e-4))


@pytest.mark.parametrize("name", get_args(LossName))
def test_the_name_in_a_config(name):
    z = unit_rows(2)
    found = alignment_loss(name, tau=0.2, margin=0.7, n_sets=2)(*z).item()
    assert found == pytest.approx(naive.loss(name, *z, tau=0.2, margin=0.7, n_sets=2), rel=1e-12)


def test_source_rows_of_the_own_set_are_no_negatives():
    z = F.normalize(torch.eye(4, dtype=torch.float64)[[0, 1, 0, 1]], dim=-1)  # sets 0, 1, 0, 1
    assert triplet_hard(z, z, -z[:, None], 0.1, 2).item() == 0
    assert triplet_hard(z, z, -z[:, None], 0.1, 4).item() == pytest.approx(0.1)
