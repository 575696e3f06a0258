"""Several sources as one, such as Caltech-101 and CIFAR-10 photos in one feature file."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain

from xmg.cache import XmgError
from xmg.extract.sources.samples import Samples
from xmg.extract.types import Content, Source


def combine(sources: Sequence[Source]) -> Source:
    """Chain sources in order; ids become `NAME/id`. A column that one lacks is empty there.

    A single source is returned as it is. Raises XmgError where two have the same name.
    """
    if len(sources) == 1:
        return sources[0]
    names = [source.name for source in sources]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise XmgError(
            f"two inputs are called {twice[0]!r}. fix: rename one, or leave out what is the same"
        )
    columns = {column for source in sources for column in source.columns}
    first = list(accumulate((len(source.samples) for source in sources), initial=0))

    def content(i: int) -> Content:
        s = bisect_right(first, i) - 1
        return sources[s].samples[i - first[s]].content

    return Source(
        "+".join(names),
        Samples(
            [f"{s.name}/{sample.id}" for s in sources for sample in s.samples],
            [sample.label for s in sources for sample in s.samples],
            content,
        ),
        {c: list(chain.from_iterable(_column(s, c) for s in sources)) for c in sorted(columns)},
    )


def _column(source: Source, name: str) -> Sequence[str]:
    return source.columns.get(name) or [""] * len(source.samples)
