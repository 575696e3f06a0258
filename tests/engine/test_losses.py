import math

import naive
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.losses import alignment_loss, info_nce, nce_logistic, nce_margin

CASES = [
    (info_nce, naive.info_nce, 0.1),
    (nce_margin, naive.nce_margin, 0.1),
    (nce_margin, naive.nce_margin, 1.5),
    (nce_logistic, naive.nce_logistic, 0.1),
    (nce_logistic, naive.nce_logistic, 1.0),
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


@pytest.mark.parametrize("loss", [info_nce, nce_margin, nce_logistic])
def test_gradient(loss):
    z = [part.requires_grad_() for part in unit_rows(0)]
    assert torch.autograd.gradcheck(lambda s, t, n: loss(s, t, n, 0.3), z)


@pytest.mark.parametrize("k", [1, 7])
def test_all_rows_agree(k):
    z = F.normalize(torch.ones(3, 5, dtype=torch.float64), dim=-1)
    n = z[:, None].expand(3, k, 5)
    assert info_nce(z, z, n, 0.1).item() == pytest.approx(math.log(1 + k), rel=1e-12)
    assert nce_margin(z, z, n, 0.25).item() == pytest.approx(0.25, rel=1e-12)
    expected = math.log1p(math.exp(-2)) + math.log1p(math.exp(2))
    assert nce_logistic(z, z, n, 0.5).item() == pytest.approx(expected, rel=1e-12)


def test_perfect_alignment_costs_nothing():
    z = torch.eye(4, dtype=torch.float64)[:2]
    n = -z[:, None]
    assert info_nce(z, z, n, 0.01).item() == pytest.approx(0, abs=1e-12)
    assert nce_margin(z, z, n, 0.1).item() == 0
    assert nce_logistic(z, z, n, 0.01).item() == pytest.approx(0, abs=1e-12)


def test_small_temperatures_stay_finite():
    z = [part.float() for part in unit_rows(1)]
    for loss in (info_nce, nce_logistic):
        assert torch.isfinite(loss(*z, 1e-4))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("info-nce", naive.info_nce),
        ("nce-margin", naive.nce_margin),
        ("nce-logistic", naive.nce_logistic),
    ],
)
def test_the_name_in_a_config(name, expected):
    z = unit_rows(2)
    constant = 0.7 if name == "nce-margin" else 0.2
    found = alignment_loss(name, tau=0.2, margin=0.7)(*z).item()
    assert found == pytest.approx(expected(*(part.tolist() for part in z), constant), rel=1e-12)
