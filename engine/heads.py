"""The aligned space: linear heads on whitened features, unit rows."""

import torch.nn.functional as F  # noqa: N812
from torch import Tensor


def embed(x: Tensor, head: Tensor) -> Tensor:
    """Whitened rows (..., d) to unit rows (..., width) of the aligned space; head (d, width)."""
    return F.normalize(x @ head, dim=-1)


def class_means(z: Tensor) -> Tensor:
    """Prototypes as a classifier: unit support rows (..., n_way, k, w) to (..., w, n_way)."""
    return F.normalize(z.mean(-2), dim=-1).transpose(-1, -2)
