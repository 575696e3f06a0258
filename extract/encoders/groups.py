"""Which inputs share a pass."""

from collections.abc import Hashable, Iterator, Sequence


def by_shape(shapes: Sequence[Hashable], at_once: int) -> Iterator[list[int]]:
    """Yield places of equal shape, at most `at_once` together, in order of first appearance."""
    places: dict[Hashable, list[int]] = {}
    for i, shape in enumerate(shapes):
        places.setdefault(shape, []).append(i)
    for same in places.values():
        for first in range(0, len(same), at_once):
            yield same[first : first + at_once]
