"""Concepts from similarities of class names: link the two sides, then group what is linked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from xmg.cache import XmgError
from xmg.engine.mining.names import shared_word
from xmg.engine.mining.similarity import Matrix

_N_RIVALS: Final = 3
_ROUNDING: Final = 1e-6  # 1 - 0.9 is within a margin of 0.1


@dataclass(frozen=True, slots=True)
class Link:
    """A source class, a target class, and how alike they are."""

    source: str
    target: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Concept:
    """Classes of either side that mean alike.

    links: the pairs that brought them together, the most alike first. strength: the mean
    similarity of all its source-target pairs. rivals: the most similar pairs of one class in
    the concept and one class outside it, which just did not make it.
    """

    name: str
    source: tuple[str, ...]
    target: tuple[str, ...]
    links: tuple[Link, ...]
    strength: float
    rivals: tuple[Link, ...] = ()


def mine(
    source: Sequence[str],
    target: Sequence[str],
    similarity: Matrix,
    *,
    min_similarity: float,
    margin: float = 0.1,
    max_concepts: int | None = None,
) -> list[Concept]:
    """Group S source and T target classes into concepts, the strongest first.

    similarity: (S + T, S + T), symmetric, source classes first; higher = more alike. Classes s
    and t are linked where sim(s, t) is at least min_similarity, and within `margin` of the best
    that s finds in the target and of the best that t finds in the source. Links are followed
    from the most alike on: one joins the groups of its two classes where the mean similarity
    across them is at least min_similarity (average linkage, which unlike connected components
    cannot chain cat - dog - wolf - ... into one concept). A class without a partner is in no
    concept. Raises XmgError where a side is empty, a similarity is not finite, or no pair
    reaches min_similarity.
    """
    _check(source, target, similarity)
    cross = similarity[: len(source), len(source) :]  # (S, T)
    links = _links(cross, min_similarity, margin)
    if not links:
        raise XmgError(_none_found(source, target, cross, min_similarity))
    groups = _grouped(links, similarity, len(source), min_similarity)
    made = [_concept(group, links, source, target, cross) for group in groups]
    made.sort(key=lambda concept: (-concept.strength, concept.source))
    return _with_own_names(made[:max_concepts])


def unmatched(
    source: Sequence[str], target: Sequence[str], concepts: Sequence[Concept]
) -> tuple[list[str], list[str]]:
    """Classes of the source, and of the target, that are in no concept, in their order."""
    s_taken = {name for concept in concepts for name in concept.source}
    t_taken = {name for concept in concepts for name in concept.target}
    return [s for s in source if s not in s_taken], [t for t in target if t not in t_taken]


def _check(source: Sequence[str], target: Sequence[str], similarity: Matrix) -> None:
    for side, names in (("source", source), ("target", target)):
        if not names:
            raise XmgError(f"the {side} has no classes to pair. fix: extract it with labels")
    n = len(source) + len(target)
    if similarity.shape != (n, n):
        raise ValueError(f"similarity has the shape {similarity.shape}, needed is {(n, n)}")
    if not np.isfinite(similarity).all():
        bad = int(np.flatnonzero(~np.isfinite(similarity).all(1))[0])
        name = [*source, *target][bad]
        raise XmgError(f"the similarity of the class {name!r} to others is not finite")


def _links(cross: Matrix, least: float, margin: float) -> list[tuple[int, int]]:
    """(s, t) of each link, the most alike first; ties in class order."""
    near_best = np.minimum(cross - cross.max(0, keepdims=True), cross - cross.max(1, keepdims=True))
    s, t = np.nonzero((cross >= least) & (near_best >= -margin - _ROUNDING))
    order = np.argsort(-cross[s, t], kind="stable")
    return list(zip(s[order].tolist(), t[order].tolist(), strict=True))


def _grouped(
    links: Sequence[tuple[int, int]], similarity: Matrix, n_source: int, least: float
) -> list[list[int]]:
    """Follow links into groups of class numbers; target class t has the number n_source + t."""
    group = {i: [i] for s, t in links for i in (s, n_source + t)}
    for s, t in links:
        left, right = group[s], group[n_source + t]
        if left is not right and similarity[np.ix_(left, right)].mean() >= least:
            joined = [*left, *right]
            group.update(dict.fromkeys(joined, joined))
    distinct = {id(members): sorted(members) for members in group.values() if len(members) > 1}
    return list(distinct.values())


def _concept(
    group: Sequence[int],
    links: Sequence[tuple[int, int]],
    source: Sequence[str],
    target: Sequence[str],
    cross: Matrix,
) -> Concept:
    s_in = [i for i in group if i < len(source)]
    t_in = [i - len(source) for i in group if i >= len(source)]
    own = [(s, t) for s, t in links if s in s_in and t in t_in]
    return Concept(
        name=shared_word([source[s] for s in s_in], [target[t] for t in t_in]),
        source=tuple(source[s] for s in s_in),
        target=tuple(target[t] for t in t_in),
        links=tuple(Link(source[s], target[t], float(cross[s, t])) for s, t in own),
        strength=float(cross[np.ix_(s_in, t_in)].mean()),
        rivals=tuple(_rivals(s_in, t_in, source, target, cross)),
    )


def _rivals(
    s_in: Sequence[int],
    t_in: Sequence[int],
    source: Sequence[str],
    target: Sequence[str],
    cross: Matrix,
) -> list[Link]:
    """The most similar pairs with one class in the concept and the other outside."""
    s_out, t_out = (
        np.setdiff1d(np.arange(n), own) for n, own in zip(cross.shape, (s_in, t_in), strict=True)
    )
    s = np.concatenate([np.repeat(s_in, len(t_out)), np.tile(s_out, len(t_in))])
    t = np.concatenate([np.tile(t_out, len(s_in)), np.repeat(t_in, len(s_out))])
    order = np.lexsort((t, s, -cross[s, t]))[:_N_RIVALS]  # ties in class order
    return [Link(source[s[i]], target[t[i]], float(cross[s[i], t[i]])) for i in order]


def _with_own_names(concepts: Sequence[Concept]) -> list[Concept]:
    """Number the concepts of one name: dog, dog_2."""
    named: dict[str, Concept] = {}
    for c in concepts:
        name, n = c.name, 1
        while name in named:
            n += 1
            name = f"{c.name}_{n}"
        named[name] = replace(c, name=name)
    return list(named.values())


def _none_found(source: Sequence[str], target: Sequence[str], cross: Matrix, least: float) -> str:
    s, t = (int(i) for i in np.unravel_index(cross.argmax(), cross.shape))
    return (
        f"no pair found: the most alike are {source[s]!r} and {target[t]!r} with "
        f"{cross[s, t]:.3f}, below --min-similarity {least:g}. fix: lower --min-similarity"
    )
