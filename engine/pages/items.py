"""Inputs as a page shows them: what was asked, and what was found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch

from xmg.cache import decode
from xmg.cache.pairs import Rows
from xmg.engine.analysis.retrieval import Aligned, Items, Right, Side, search
from xmg.engine.data.streams import Stream, generator

_QUERIES: Final = 4
_FOUND: Final = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """A data: URI of an image or a sound, a text, or the reason why there is none ("unread")."""

    kind: Literal["image", "audio", "text", "unread"]
    content: str


Show = Callable[[Side, str], Shown | None]  # of a side's id; None where no data was named


def nothing(side: Side, name: str) -> None:
    """Show ids only."""


@dataclass(frozen=True, slots=True)
class Item:
    """One input. note: what it has to do with the query, good: whether it is a right answer."""

    id: str
    label: str | None
    shown: Shown | None
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """A query and what was found, nearest first."""

    query: Item
    found: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Direction:
    """Searches of one direction."""

    queries: Side
    gallery: Side
    searches: Sequence[Search]


def directions(aligned: Aligned, source: Items, target: Items, show: Show) -> list[Direction]:
    """Example searches, source to target and target to source, each of another class or concept.

    Queries are drawn by the run's seed; galleries are those of the retrieval table.
    """
    return [
        Direction(queries.side, gallery.side, _searches(aligned, queries, gallery, show))
        for queries, gallery in ((source, target), (target, source))
    ]


def _searches(aligned: Aligned, queries: Items, gallery: Items, show: Show) -> list[Search]:
    kind = _kind(queries)
    rng = generator(aligned.config.seed, Stream.SHOWN)
    order = rng.permutation(len(queries.rows))
    _, firsts = np.unique(queries.keys[kind].numpy()[order], return_index=True)
    asked = order[np.sort(firsts)[:_QUERIES]]
    cosines, found = search(queries.z[asked], gallery.z, _FOUND)
    return [
        Search(
            item(aligned, queries.side, queries.rows[[i]], show),
            [
                _found(aligned, queries, gallery, (int(i), j), cosine, show)
                for j, cosine in zip(row, near, strict=True)
            ],
        )
        for i, row, near in zip(asked, found.tolist(), cosines.tolist(), strict=True)
    ]


def _found(
    aligned: Aligned,
    queries: Items,
    gallery: Items,
    at: tuple[int, int],
    cosine: float,
    show: Show,
) -> Item:
    """Row at[1] of the gallery, as an answer to query at[0]."""
    right = [k for k in queries.keys if torch.equal(queries.keys[k][at[0]], gallery.keys[k][at[1]])]
    said = {"item": "the paired item", "class": "same class", "concept": "same concept"}
    what = said[right[0]] if right else f"another {_kind(queries)}"
    note = f"cosine {cosine:.2f}, {what}"
    return item(aligned, gallery.side, gallery.rows[[at[1]]], show, note, bool(right))


def _kind(items: Items) -> Right:
    """What several rows share: a class or a concept."""
    *_, kind = items.keys
    return kind


def item(
    aligned: Aligned, side: Side, row: Rows, show: Show, note: str = "", good: bool | None = None
) -> Item:
    """Row (1,) of one of a run's files."""
    file = aligned.source if side == "source" else aligned.target
    name, label = decode(file.ids[row])[0], file.class_names(row)[0]
    return Item(name, label, show(side, name), note, good)
