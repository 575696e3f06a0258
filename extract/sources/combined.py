"""Several sources as one, such as Caltech-101 and CIFAR-10 photos in one feature file."""

from collections.abc import Sequence
from itertools import chain

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
        raise XmgError(f"two inputs are called {twice[0]!r}. fix: rename one of the folders")
    columns = {column for source in sources for column in source.columns}
    samples = [(source.name, sample) for source in sources for sample in source.samples]
    contents: list[Content] = [sample.content for _, sample in samples]
    return Source(
        "+".join(names),
        Samples(
            [f"{name}/{sample.id}" for name, sample in samples],
            [sample.label for _, sample in samples],
            contents.__getitem__,
        ),
        {c: list(chain.from_iterable(_column(s, c) for s in sources)) for c in sorted(columns)},
    )


def _column(source: Source, name: str) -> Sequence[str]:
    return source.columns.get(name) or [""] * len(source.samples)
