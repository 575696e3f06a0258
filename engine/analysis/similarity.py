"""How alike two frozen feature spaces are on pairs, beside what chance gives."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import PairedSets, Rows
from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch, vectors
from xmg.engine.data.streams import Stream, generator
from xmg.engine.data.views import MetaTrain

Array = npt.NDArray[np.floating[Any]]
Permuted = Callable[[Rows], float]  # the figure where row i of x is paired with row p[i] of y

N_PERMUTATIONS = 199
_MOST = 1024  # pairs, as Huh et al. take
_LEAST = 5
_NEIGHBOURS = 10  # as Huh et al. take, where there are enough pairs


class Similarity(NamedTuple):
    """A figure of two spaces: its value, its mean when pairs are shuffled, and a one-sided p.

    p = (1 + how many shufflings reach the value) / (1 + their number).
    """

    value: float
    chance: float
    p: float


class Likeness(NamedTuple):
    """Both figures, and what they were taken on: rows of strong pairs, or means of sets."""

    mutual_knn: Similarity
    cka: Similarity
    level: Literal["pairs", "set means"]
    n: int
    k: int  # neighbours


def likeness(train: MetaTrain, config: Config) -> Likeness:
    """Mutual k-nearest-neighbour overlap and linear CKA of the encoders' features, as stored.

    Of strong pairs at most 1024 are drawn; where rows are not one to one, the means of the sets
    stand for them. k is 10, or a quarter of the pairs where these are fewer than 40.

    Raises XmgError for fewer than five.
    """
    sets, rng = train.sets, generator(config.seed, Stream.ADVICE)
    sides = _sides(sets)
    once = all(len(np.unique(rows)) == len(rows) for rows, _ in sides)
    strong = config.concepts is None and config.target_share == 1 and once
    n = len(sets.source_rows) if strong else len(sets)
    if n < _LEAST:
        raise XmgError(
            f"there are {n} {'pairs' if strong else 'sets of pairs'} for meta-training, and to "
            f"compare two feature spaces takes {_LEAST}. fix: pair more samples, or add concepts"
        )
    files = train.source.file, train.target
    kept = np.sort(rng.permutation(n)[:_MOST])
    x, y = (
        _rows(file, rows[kept]) if strong else _means(file, rows, offsets, kept)
        for file, (rows, offsets) in zip(files, sides, strict=True)
    )
    k = max(1, min(_NEIGHBOURS, len(kept) // 4))
    orders = [rng.permutation(len(kept)) for _ in range(N_PERMUTATIONS)]
    return Likeness(
        tested(mutual_knn_of(x, y, k), orders),
        tested(cka_of(x, y), orders),
        "pairs" if strong else "set means",
        len(kept),
        k,
    )


def mutual_knn_of(x: Array, y: Array, k: int) -> Permuted:
    """Mutual k-nearest-neighbour overlap in [0, 1] of rows x (n, d) and y (n, d'), k < n:

        1/n sum_i |N_k(x_i) & N_k(y_i)| / k

    with N_k the k nearest others by cosine (Huh, Cheung, Wang, Isola, "The Platonic Representation
    Hypothesis", ICML 2024, appendix A).
    """
    near, others = np.zeros((len(x), len(x)), bool), _nearest(y, k)
    np.put_along_axis(near, _nearest(x, k), True, axis=1)

    def overlap(order: Rows) -> float:
        place = np.argsort(order)  # of a row of y
        return float(np.take_along_axis(near, place[others[order]], axis=1).mean())

    return overlap


def cka_of(x: Array, y: Array) -> Permuted:
    """Linear centred kernel alignment of rows x (n, d) and y (n, d'), n > 3, debiased:

        HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)),  K = X X^T, L = Y Y^T

    (Kornblith, Norouzi, Lee, Hinton, ICML 2019), with the unbiased estimator HSIC_1 (Song, Smola,
    Gretton, Bedo, Borgwardt, JMLR 2012, eq. 5), in the form of a product of U-centred matrices
    (Szekely, Rizzo, 2014). Near 0 for independent rows, which the biased form is not where d is
    near n or above; it may be negative. 0 where either side has no variance.
    """
    k, m = _u_centred(x), _u_centred(y)

    def product(order: Rows) -> float:
        return float((k * m[np.ix_(order, order)]).sum())

    return product


def tested(figure: Permuted, orders: list[Rows]) -> Similarity:
    """The figure of the pairs as they are, beside those of shuffled ones."""
    value = figure(np.arange(len(orders[0])))
    shuffled = np.array([figure(order) for order in orders])
    reached = int((shuffled >= value).sum())
    return Similarity(value, float(shuffled.mean()), (1 + reached) / (1 + len(orders)))


def _nearest(x: Array, k: int) -> Rows:
    """The k nearest other rows by cosine, (n, k)."""
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argpartition(-cosines, k - 1, axis=1)[:, :k]


def _u_centred(x: Array) -> Array:
    """The U-centred Gram matrix of rows (n, d), of norm 1."""
    x, n = x - x.mean(0), len(x)
    gram = x @ x.T
    np.fill_diagonal(gram, 0)
    row = gram.sum(1, keepdims=True) / (n - 2)
    centred = gram - row - row.T + gram.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    norm = float(np.linalg.norm(centred))
    flat = norm <= 1e-12 * float(np.square(x).sum())  # rounding alone
    return np.zeros_like(centred) if flat or not norm else centred / norm


def _sides(sets: PairedSets) -> tuple[tuple[Rows, Rows], tuple[Rows, Rows]]:
    return (
        (sets.source_rows, sets.source_offsets),
        (sets.target_rows, sets.target_offsets),
    )


def _rows(file: FeatureFile, rows: Rows) -> Array:
    found: Array = vectors(file.is_sequence)(fetch(file, rows)).double().numpy()
    return found


def _means(file: FeatureFile, rows: Rows, offsets: Rows, kept: Rows) -> Array:
    """Of each kept set the mean of its unit rows, (n, d): of 1024 at most, spread evenly."""
    found = []
    for i in kept:
        size = offsets[i + 1] - offsets[i]
        n = min(size, _MOST)
        x = _rows(file, rows[offsets[i] + np.arange(n) * size // n])
        found.append((x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).mean(0))
    return np.stack(found)
