"""Cross-modal retrieval with the meta-trained heads of a finished run, before any adaptation."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch
from xmg.engine.data.problem import Problem, strong_pairs
from xmg.engine.data.streams import Stream, generator
from xmg.engine.meta_test import open_run
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta, project
from xmg.engine.run import State
from xmg.engine.training.phases import head_of

Side = Literal["source", "target"]
Right = Literal["item", "class", "concept"]
RIGHT: Final = {  # in words
    "item": "the paired item",
    "class": "any of its class",
    "concept": "any of its concept",
}
CUTOFFS: Final = (1, 5, 10)
TIE: Final = 1e-6  # single precision does not tell cosines apart that are nearer
_LARGE: Final = 200_000  # rows of a gallery that pay for an index
_CELLS: Final = 1 << 24  # cosines held at a time
_ROWS: Final = 4096  # rows embedded at a time
_SEQUENCES: Final = 128  # the same where rows are sequences of frames


@dataclass(frozen=True, slots=True)
class Aligned:
    """A finished run to report on: its best heads, and its files with ids and labels."""

    config: Config
    problem: Problem
    theta: Theta
    fronts: Fronts
    source: FeatureFile
    target: FeatureFile

    @property
    def weak(self) -> bool:
        """Whether pairs are weak: concepts, of which no new class has source rows."""
        return self.config.concepts is not None

    @torch.no_grad()
    def embed(self, side: Side, rows: Rows, file: FeatureFile | None = None) -> Tensor:
        """unit(head(front(x))) of rows (n,) with e_s^meta or e_t^meta, (n, width).

        file: another one of the same encoder, in place of the run's.
        """
        file, front = file or getattr(self, side), getattr(self.fronts, side)
        size = _SEQUENCES if file.is_sequence else _ROWS
        head = head_of(self.config, side)
        z = torch.empty(len(rows), self.config.width)
        for i in range(0, len(rows), size):
            x = front(fetch(file, rows[i : i + size]))
            z[i : i + size] = F.normalize(project(head, self.theta, side, x), dim=-1)
        return z


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How well queries of one modality find their right answers among the other's rows.

    right: what counts as right: the "item" that is paired with the query, or any row of its
    "class" or "concept". seen: whether meta-training read these rows. chance: the recall to be
    expected of a random order.
    """

    queries: Side
    gallery: Side
    right: Right
    seen: bool
    n_queries: int
    n_gallery: int
    recall: Mapping[int, float]  # by cutoff, in [0, 1]
    chance: Mapping[int, float]
    median_rank: float


@dataclass(frozen=True, slots=True)
class Items:
    """Rows (n,) of one modality: embeddings (n, width), and what each is, by what is right."""

    side: Side
    rows: Rows
    z: Tensor
    keys: Mapping[Right, Tensor]  # (n,) each


def open_aligned(run: Path, n_shots: int | None = None) -> Aligned:
    """Open a finished run as evaluate_run does, and its files with ids.

    n_shots: labels per class that tasks shall have, if not those of the run. Raises XmgError where
    the run or its files are missing or have changed, classes are too small, or its system has no
    source head.
    """
    opened = open_run(run, (n_shots,) if n_shots else None)
    if not has_source_head(opened[2]):
        raise XmgError(
            f"{run} is a run of system = {opened[0].system!r}, which has no source head, and there "
            "is nothing to retrieve across modalities. fix: name a run of a system that learns "
            "from pairs, such as 'croma'"
        )
    return aligned_of(*opened)


def has_source_head(state: State) -> bool:
    """Whether a checkpoint can embed the source."""
    return state.fronts.source is not None and "source" in state.theta


def aligned_of(config: Config, problem: Problem, state: State) -> Aligned:
    """The same of what `open_run` returns, where `has_source_head`."""
    files = FeatureFile(config.source), FeatureFile(config.target)
    return Aligned(config, problem, state.theta, state.fronts, *files)


def retrieval(run: Path, n_queries: int = 10_000) -> list[Retrieval]:
    """Recall at 1, 5 and 10 and median rank, source to target and target to source.

    Strong pairs: queries and gallery are the pairs whose target row is of a meta-test class, which
    meta-training has not seen; the right answer is the paired item, then any row of its class.
    Weak pairs: no source row is known for a new class, so these are the concepts of meta-training
    itself (`seen`), and any row of the query's concept is right. Of more than n_queries queries so
    many are drawn, by the run's seed. Raises XmgError as `open_aligned`, and where no pair is of a
    meta-test class.
    """
    aligned = open_aligned(run)
    return measure(aligned, *items_of(aligned), n_queries)


def measure(
    aligned: Aligned, source: Items, target: Items, n_queries: int = 10_000
) -> list[Retrieval]:
    """The same of a run that is open, and its `items_of`."""
    return [
        _measured(queries, gallery, right, aligned.weak, kept)
        for queries, gallery in ((source, target), (target, source))
        for kept in [drawn(len(queries.z), n_queries, aligned.config.seed)]
        for right in queries.keys
    ]


def items_of(aligned: Aligned) -> tuple[Items, Items]:
    """What `retrieval` looks for in what, source and target."""
    return (_concepts if aligned.weak else _unseen_pairs)(aligned)


def ranks(queries: Tensor, gallery: Tensor, wanted: Tensor, keys: Tensor) -> Tensor:
    """Rank of each query's first right answer, (n,), from 1.

        rank_i = 1 + |{j : keys_j != wanted_i, c_ij >= max over keys_l = wanted_i of c_il}|

    with c the cosines. Ties count against the query, and cosines within 1e-6 are ties. A query
    without a right answer comes after the whole gallery. queries (n, w) and gallery (m, w) are unit
    rows; wanted (n,) and keys (m,) say what is right. Memory is bounded: some queries at a time.
    """
    found = []
    for part in _blocks(queries, gallery):
        cosines = queries[part] @ gallery.T  # (b, m)
        wrong = wanted[part, None] != keys
        best = cosines.masked_fill(wrong, -torch.inf).amax(1, keepdim=True)
        found.append(1 + ((cosines >= best - TIE) & wrong).sum(1))
    return torch.cat(found)


def search(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows of a gallery (m, w) to each query (n, w): cosines and numbers, (n, k).

    Nearest first; all m where there are fewer than k. Exact, by faiss (Douze et al.,
    arXiv:2401.08281) where it is installed and the gallery large, else by torch.
    """
    k = min(k, len(gallery))
    large = len(gallery) > _LARGE and find_spec("faiss") is not None
    return (_search_faiss if large else _search_torch)(queries, gallery, k)


def _search_torch(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    found = [(queries[part] @ gallery.T).topk(k) for part in _blocks(queries, gallery)]
    return torch.cat([best.values for best in found]), torch.cat([best.indices for best in found])


def _search_faiss(queries: Tensor, gallery: Tensor, k: int) -> tuple[Tensor, Tensor]:
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery.numpy())
    cosines, found = index.search(queries.numpy(), k)
    return torch.from_numpy(cosines), torch.from_numpy(found)


def _blocks(queries: Tensor, gallery: Tensor) -> list[slice]:
    size = max(1, _CELLS // max(len(gallery), 1))
    return [slice(i, i + size) for i in range(0, len(queries), size)]


def _unseen_pairs(aligned: Aligned) -> tuple[Items, Items]:
    """The strong pairs of the meta-test classes."""
    pool = aligned.problem.test.target
    source, target, _ = strong_pairs(aligned.config, aligned.source, aligned.target)
    rows = pool.rows
    owner = np.repeat(np.arange(len(pool.classes)), pool.sizes)
    kept = np.isin(target, rows)
    if not kept.any():
        raise XmgError(
            f"no pair of {aligned.source.path} and {aligned.target.path} is of a meta-test class "
            f"({', '.join(pool.classes)}), so none can be retrieved. fix: extract the source of "
            "these samples too, or train with another --seed"
        )
    class_of = dict(zip(rows.tolist(), owner.tolist(), strict=True))
    classes = np.array([class_of[row] for row in target[kept].tolist()])
    keys: dict[Right, Rows] = {"item": _linked(source[kept], target[kept]), "class": classes}
    return (
        _distinct(aligned, "source", source[kept], keys),
        _distinct(aligned, "target", target[kept], keys),
    )


def _linked(source: Rows, target: Rows) -> Rows:
    """(P,) number of the group of each pair; pairs that share a row, or are linked so, are one."""
    (s_names, s), (t_names, t) = (np.unique(rows, return_inverse=True) for rows in (source, target))
    n = len(s_names) + len(t_names)
    edges = coo_array((np.ones(len(s), np.int8), (s, len(s_names) + t)), shape=(n, n))
    groups: Rows = connected_components(edges, directed=False)[1][s].astype(np.int64)
    return groups


def _distinct(aligned: Aligned, side: Side, rows: Rows, keys: Mapping[Right, Rows]) -> Items:
    """Each row of the pairs (P,) once."""
    kept, first = np.unique(rows, return_index=True)
    order = np.argsort(first)  # in the order of the pairs
    kept, first = kept[order], first[order]
    own = {right: torch.from_numpy(values[first]) for right, values in keys.items()}
    return Items(side, kept, aligned.embed(side, kept), own)


def _concepts(aligned: Aligned) -> tuple[Items, Items]:
    """The weak pairs of meta-training."""
    sets = aligned.problem.train.sets
    s_owner, t_owner = (
        torch.from_numpy(np.repeat(np.arange(len(sets)), np.diff(offsets)))
        for offsets in (sets.source_offsets, sets.target_offsets)
    )
    rows = sets.source_rows, sets.target_rows
    return (
        Items("source", rows[0], aligned.embed("source", rows[0]), {"concept": s_owner}),
        Items("target", rows[1], aligned.embed("target", rows[1]), {"concept": t_owner}),
    )


def drawn(n: int, most: int, seed: int) -> Tensor:
    """Numbers of at most `most` of n, ascending."""
    rng = generator(seed, Stream.SHOWN)
    return torch.from_numpy(np.sort(rng.permutation(n)[:most]))


def _measured(queries: Items, gallery: Items, right: Right, seen: bool, kept: Tensor) -> Retrieval:
    wanted, keys = queries.keys[right][kept], gallery.keys[right]
    found = ranks(queries.z[kept], gallery.z, wanted, keys).numpy()
    n_right = torch.bincount(keys, minlength=int(wanted.max()) + 1)[wanted].numpy()
    return Retrieval(
        queries.side,
        gallery.side,
        right,
        seen,
        len(kept),
        len(keys),
        {k: float((found <= k).mean()) for k in CUTOFFS},
        dict(zip(CUTOFFS, _chance(n_right, len(keys)), strict=True)),
        float(np.median(found)),
    )


def _chance(n_right: Rows, n: int) -> Iterator[float]:
    """1 - prod over i < k of (n - r - i) / (n - i): one of r right answers among the first k."""
    for k in CUTOFFS:
        i = np.arange(min(k, n))
        missed = np.maximum(n - n_right[:, None] - i, 0) / (n - i)  # (queries, k)
        yield float((1 - missed.prod(1)).mean())
