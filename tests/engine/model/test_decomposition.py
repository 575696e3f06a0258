"""A decomposition comes to an end, by the second way too."""

import numpy.testing as npt
import pytest
import torch

from xmg.engine.model.decomposition import svd


def equal_values(m, n, n_equal, seed=0):
    """A matrix (m, n) of which n_equal singular values are 1, and the rest 0."""
    rng = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(size, n_equal, generator=rng, dtype=torch.float64))[0]
        for size in (m, n)
    )
    return left @ right.T


@pytest.mark.parametrize("gives_up", [False, True])
@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (7, 7)])
def test_parts_make_up_the_matrix(monkeypatch, shape, gives_up):
    if gives_up:  # as gesdd did on one in ten of the matrices behind Procrustes' rotation

        def svd_of_torch(*_, **__):
            raise torch.linalg.LinAlgError("failed to converge")

        monkeypatch.setattr(torch.linalg, "svd", svd_of_torch)
    x = equal_values(*shape, 5)
    u, c, vh = svd(x)
    r = min(shape)
    assert u.shape == (shape[0], r) and vh.shape == (r, shape[1])
    npt.assert_allclose(c, [1.0] * 5 + [0.0] * (r - 5), atol=1e-12)
    npt.assert_allclose((u * c) @ vh, x, atol=1e-12)
    for basis in (u.T, vh):
        npt.assert_allclose(basis @ basis.T, torch.eye(r), atol=1e-12)
