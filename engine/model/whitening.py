"""The frozen front of a head: square root, centring, PCA-whitening. It reads no label."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows
from xmg.engine.data.fetch import fetch, mean_frame
from xmg.engine.model.decomposition import svd

SHRINKAGES = (0.1, 0.6, 1.0)  # what selection compares
_BLOCK = 4096
_TINY = 1e-36  # keeps features without any variance finite, in float32 too


@dataclass(frozen=True, slots=True)
class Whitening:
    """x -> f(x) @ matrix - offset, with f the square root where `root`, else the identity.

    matrix (D, d), offset (d,). Rows it was fitted on come out centred, with a
    mean squared norm near 1.
    """

    matrix: Tensor
    offset: Tensor
    root: bool
    frames: bool = False  # of sequences, whose last column marks frames (`fetch_frames`)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (..., D), in half or in the matrix's precision, to (..., d)."""
        x = x.to(self.matrix.dtype)
        if not self.frames:
            return self._map(x)
        mark = x[..., -1:]
        return torch.cat([self._map(x[..., :-1]) * mark, mark], -1)

    def pooled(self, x: Tensor) -> Tensor:
        """One vector (..., d) for each row: of a sequence the mean of its mapped frames."""
        return self.pool(self(x))

    def pool(self, z: Tensor) -> Tensor:
        """The same of rows that are mapped."""
        return mean_frame(z) if self.frames else z

    def leading(self, width: int | None) -> "Whitening":
        """The first dimensions alone, those of largest variance."""
        return replace(self, matrix=self.matrix[:, :width], offset=self.offset[:width])

    def _map(self, x: Tensor) -> Tensor:
        return (_root(x) if self.root else x) @ self.matrix - self.offset


def fit_whitening(file: FeatureFile, rows: Rows, dim: int, a: float = 0.1) -> Whitening:
    """As `fit_whitenings`, for one shrinkage."""
    return fit_whitenings(file, rows, dim, (a,))[0]


def fit_whitenings(
    file: FeatureFile, rows: Rows, dim: int, shrinkages: Sequence[float] = SHRINKAGES
) -> list[Whitening]:
    """Fit on rows (n,) of a feature file, block by block, in float64; one for each shrinkage a.

    With (lambda_i, v_i) the leading eigenpairs of the covariance and mu the mean of all its
    eigenvalues, column i of the matrix is v_i / sqrt(((1 - a) lambda_i + a mu) d): PCA-whitening
    of the covariance shrunk towards a multiple of the identity (Ledoit, Wolf, "A well-conditioned
    estimator for large-dimensional covariance matrices", 2004). At a = 1 rows are centred and
    turned, and no more. d is `dim`, or the rank where that is lower. Features that are never
    negative (pooled ReLU outputs) are square-rooted first, which evens out their heavy tails (Hu,
    Gripon, Pateux, "Leveraging the Feature Distribution in Transfer-based Few-Shot Learning",
    ICANN 2021).
    """
    rows = np.unique(rows)
    blocks = [rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK)]
    root = all(bool((_fetched(file, block) >= 0).all()) for block in blocks)
    few = len(rows) <= file.dim and not file.is_sequence
    mean, values, vectors = (_few if few else _many)(file, blocks, root)
    tolerance = values[0] * (file.dim * torch.finfo(torch.float32).eps) ** 2
    d = min(dim, max(int((values > tolerance).sum()), 1))
    found = []
    for a in shrinkages:
        shrunk = (1 - a) * values[:d] + a * values.sum() / file.dim
        matrix = vectors[:, :d] / (shrunk * d).clamp_min(_TINY).sqrt()
        offset = (mean @ matrix).float()
        # Row-major, as it comes back from a checkpoint: products round alike after a resume.
        found.append(Whitening(matrix.float().contiguous(), offset, root, file.is_sequence))
    return found


Moments = tuple[Tensor, Tensor, Tensor]  # mean (D,), eigenvalues descending, eigenvectors (D, r)


def _few(file: FeatureFile, blocks: list[Rows], root: bool) -> Moments:
    """The covariance's eigenpairs when n <= D, by SVD of the centred rows: all fit in memory."""
    x = torch.cat([_read(file, block, root) for block in blocks])
    mean = x.mean(0)
    _, singular, vh = svd(x - mean)
    return mean, singular.square() / len(x), vh.T


def _many(file: FeatureFile, blocks: list[Rows], root: bool) -> Moments:
    """The same from one pass over the blocks, in O(D^2) memory.

    Rows are taken relative to the first, so that a large mean costs no digits.
    """
    pivot = _read(file, blocks[0][:1], root)[0]
    total = torch.zeros(file.dim, dtype=torch.float64)
    square = torch.zeros(file.dim, file.dim, dtype=torch.float64)
    n = 0
    for block in blocks:
        x = _read(file, block, root) - pivot
        total += x.sum(0)
        square += x.T @ x
        n += len(x)
    mean = total / n
    values, vectors = torch.linalg.eigh(square / n - torch.outer(mean, mean))  # ascending
    return pivot + mean, values.flip(0).clamp_min(0), vectors.flip(1)


def _read(file: FeatureFile, block: Rows, root: bool) -> Tensor:
    x = _fetched(file, block).double()
    return _root(x) if root else x


def _fetched(file: FeatureFile, block: Rows) -> Tensor:
    """Vectors (n, D) to fit on: of sequences, their frames."""
    x = fetch(file, block)
    if not x.isfinite().all():  # no file is written so
        raise XmgError(
            f"{file.path} holds NaN or infinite features, so it is damaged.\n"
            f"fix: xmg cache verify {shlex.quote(str(file.path))} says where; extract it again"
        )
    return x[x[..., -1] > 0][:, :-1] if file.is_sequence else x


def _root(x: Tensor) -> Tensor:
    return x.clamp_min(0).sqrt()
