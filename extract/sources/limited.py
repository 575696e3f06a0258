"""A part of a source, spread evenly over it: enough to try things out."""

from xmg.extract.sources.samples import Samples
from xmg.extract.types import Source


def limit(source: Source, n: int) -> Source:
    """Take at most n inputs of `source`, with their ids, labels and columns; n >= 1.

    The name stays, so that an update with the whole source keeps the rows of the part.
    """
    samples = source.samples
    rows = spread(len(samples), n)
    if len(rows) == len(samples):
        return source
    return Source(
        source.name,
        Samples(
            [samples[row].id for row in rows],
            [samples[row].label for row in rows],
            lambda i: samples[rows[i]].content,
        ),
        {name: [values[row] for row in rows] for name, values in source.columns.items()},
    )


def spread(n_all: int, n: int) -> list[int]:
    """Return floor(i n_all / n) for i = 0, ..., n - 1; all of range(n_all) where n is as many."""
    n = min(n, n_all)
    return [i * n_all // n for i in range(n)]
