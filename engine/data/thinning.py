"""Less data for meta-training, and sets found by clustering: what studies of data need."""

from itertools import pairwise

import numpy as np

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import PairedSets, Rows
from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch, vectors
from xmg.engine.data.pool import share_of
from xmg.engine.data.streams import Stream, generator
from xmg.engine.mining.clusters import cluster_sets, default_n_sets


def fewer_sets(sets: PairedSets, config: Config) -> PairedSets:
    """n_train_sets of the sets, in their order; those of fewer lie inside those of more."""
    if config.n_train_sets is None or config.n_train_sets == len(sets):
        return sets
    if config.n_train_sets > len(sets):
        raise XmgError(
            f"n_train_sets = {config.n_train_sets}, and the pairs form {len(sets)} sets. "
            f"fix: set it to {len(sets)} at most, in a --config file"
        )
    order = generator(config.seed, Stream.SETS).permutation(len(sets))
    kept = np.sort(order[: config.n_train_sets])
    sides = [
        _parts([rows[offsets[i] : offsets[i + 1]] for i in kept])
        for rows, offsets in (
            (sets.source_rows, sets.source_offsets), (sets.target_rows, sets.target_offsets)
        )
    ]  # fmt: skip
    (s_offsets, s_rows), (t_offsets, t_rows) = sides
    return PairedSets(tuple(sets.names[i] for i in kept), s_offsets, s_rows, t_offsets, t_rows)


def fewer_rows(sets: PairedSets, config: Config) -> PairedSets:
    """A share of each set's target rows, one at least."""
    if config.target_share == 1:
        return sets
    rng = generator(config.seed, Stream.ROWS)
    parts = []
    for start, stop in pairwise(sets.target_offsets):
        parts.append(share_of(sets.target_rows[start:stop], config.target_share, rng))
    offsets, rows = _parts(parts)
    return PairedSets(sets.names, sets.source_offsets, sets.source_rows, offsets, rows)


def clustered(source: FeatureFile, rows: Rows, config: Config) -> list[str]:
    """The cluster of each source row of a pair, by k-means of unit features.

    S* = sqrt(N) clusters of N pairs unless n_clusters says: the error c_1 / S + c_2 S / N of weak
    alignment with unknown sets is least where S grows as sqrt(N) (CROMA paper, appendix B).
    """
    n = config.n_clusters or max(2, default_n_sets(len(rows)))
    check_clusters(n, len(rows))
    found = clusters_of(source, rows, n, config.seed)
    return [f"cluster {c:0{len(str(n))}d}" for c in found]


def check_clusters(n: int, n_pairs: int) -> None:
    """Raise XmgError where there are fewer pairs than clusters."""
    if n > n_pairs:
        raise XmgError(f"n_clusters = {n}, and there are {n_pairs} pairs. fix: lower it to that")


def clusters_of(file: FeatureFile, rows: Rows, n: int, seed: int) -> Rows:
    """The cluster (n_rows,) of each row, by k-means of unit features, or mean frames."""
    x = vectors(file.is_sequence)(fetch(file, rows)).numpy()
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return cluster_sets(x, n, int(generator(seed, Stream.CLUSTERS).integers(2**31)))


def _parts(parts: list[Rows]) -> tuple[Rows, Rows]:
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return offsets, np.concatenate(parts)
