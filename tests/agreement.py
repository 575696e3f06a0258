"""How well mined concepts agree with those that a person made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Sides(Protocol):
    """Concept -> class names on either side, such as cache.pairs.Concepts."""

    @property
    def source(self) -> Mapping[str, Sequence[str]]: ...
    @property
    def target(self) -> Mapping[str, Sequence[str]]: ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """precision = right / mined, recall = right / by hand, both in [0, 1]."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def precision_recall(mined: Sides, by_hand: Sides) -> tuple[Agreement, Agreement]:
    """Compare concepts with those made by hand: over links, and over concepts.

    A link is a source and a target class of one concept. A mined concept is right where more
    than half of its links are links of one concept made by hand, and then finds that one.
    """
    left, right = _links(mined), _links(by_hand)
    own, made = set().union(*left.values()), set().union(*right.values())
    both = len(own & made)
    hits = [(m, h) for m in left for h in right if 2 * len(left[m] & right[h]) > len(left[m])]
    n_right, n_found = len({m for m, _ in hits}), len({h for _, h in hits})
    return (
        Agreement(_share(both, len(own)), _share(both, len(made))),
        Agreement(_share(n_right, len(left)), _share(n_found, len(right))),
    )


def _links(concepts: Sides) -> dict[str, set[tuple[str, str]]]:
    return {
        name: {(s, t) for s in names for t in concepts.target[name]}
        for name, names in concepts.source.items()
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
