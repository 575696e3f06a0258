"""Singular values, whatever the matrix."""

import scipy.linalg
import torch
from torch import Tensor


def svd(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, r), c (r,) descending and V^T (r, n) of x (m, n), r = min(m, n): x = U diag(c) V^T.

    LAPACK's gesdd, as torch has it, gives up on some matrices of many equal singular values. Those
    gesvd decomposes, by QR iterations, which take 20 times as long where values differ.
    """
    try:
        u, c, vh = torch.linalg.svd(x, full_matrices=False)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        found = scipy.linalg.svd(x.numpy(), full_matrices=False, lapack_driver="gesvd")
        u, c, vh = map(torch.from_numpy, found)
    return u, c, vh
