"""Look one input up in the other modality: what a finished run finds nearest to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.identity import differences, meaning
from xmg.cache.pairs import Rows
from xmg.cache.reuse import known_ids
from xmg.engine.analysis.retrieval import Aligned, Side, search


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of the gallery. seen: whether meta-training read it; None where that is not known."""

    rank: int  # from 1
    id: str
    label: str | None
    cosine: float
    seen: bool | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A query and its hits, nearest first. label and seen as of a hit."""

    query: str
    label: str | None
    seen: bool | None
    hits: Sequence[Hit]


def other(side: Side) -> Side:
    """The other modality."""
    return "target" if side == "source" else "source"


def side_of(aligned: Aligned, names: Sequence[str]) -> Side | None:
    """Whose ids all names are: the source's, else the target's, else None."""
    sides: tuple[Side, Side] = ("source", "target")
    for side in sides:
        if set(names) <= known_ids(getattr(aligned, side)).keys():
            return side
    return None


def seen_rows(aligned: Aligned, side: Side) -> Rows:
    """Rows that meta-training read: of the sets of pairs, and the source's labelled ones."""
    train = aligned.problem.train
    if side == "target":
        return np.unique(train.sets.target_rows)
    return np.union1d(train.source.rows, train.sets.source_rows)


def look_up(
    aligned: Aligned, side: Side, z: Iterable[Tensor], k: int, gallery: FeatureFile | None = None
) -> list[list[Hit]]:
    """The k rows of the other modality nearest to each of z, embeddings (width,) of `side`.

    gallery: a file in place of the run's own. Raises XmgError where it is of another encoder.
    """
    away = other(side)
    own: FeatureFile = getattr(aligned, away)
    file = gallery or own
    check_same_features(file, own)
    cosines, found = search(
        torch.stack(list(z)), aligned.embed(away, np.arange(len(file)), file), k
    )
    seen = None if gallery else seen_rows(aligned, away)
    return [
        _hits(file, np.array(rows, np.int64), near, seen)
        for rows, near in zip(found.tolist(), cosines.tolist(), strict=True)
    ]


def _hits(file: FeatureFile, rows: Rows, cosines: Sequence[float], seen: Rows | None) -> list[Hit]:
    known = [None] * len(rows) if seen is None else np.isin(rows, seen).tolist()
    columns = decode(file.ids[rows]), file.class_names(rows), cosines, known
    return [Hit(i, *values) for i, values in enumerate(zip(*columns, strict=True), 1)]


def check_same_features(file: FeatureFile, own: FeatureFile) -> None:
    """Raise XmgError unless a file is of the encoder, weights and preprocessing of a run's own."""
    which = differences(meaning(file.spec), meaning(own.spec))
    if which or file.dim != own.dim or file.is_sequence != own.is_sequence:
        raise XmgError(
            f"{file.path} holds other features than {own.path}, which the run knows: "
            f"{which or 'another shape'}.\nfix: extract it with the encoder of {own.path}"
        )
