"""Find every bit of a feature file that is not as it was written."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xmg.cache import layout
from xmg.cache.checksums import block_checksums
from xmg.cache.errors import XmgError
from xmg.cache.read import FeatureFile


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in rows first, ..., last of a dataset, or outside all datasets (first = -1)."""

    dataset: str
    first: int
    last: int

    def __str__(self) -> str:
        """Such as `features, rows 1,024 to 2,047`."""
        if self.first < 0:
            return "what is around the datasets: headers, attributes or checksums"
        return f"{self.dataset}, rows {self.first:,} to {self.last:,}"


def require_whole(file: FeatureFile) -> None:
    """Raise XmgError where a row or its texts are damaged: a copy would get good checksums."""
    for damage in damages(file):
        if damage.dataset == layout.STRUCTURE:
            continue  # such as a note that someone added
        raise XmgError(f"{file.path} is damaged: {damage}. fix: extract it again with --overwrite")


def damages(file: FeatureFile) -> Iterator[Damage]:
    """Yield what is damaged, reading the whole file once, block by block.

    Each block of each dataset has a CRC-32, and so has everything in between, the other
    checksums included: no single flipped bit goes unseen. Damage around the datasets together
    with one damaged block means that the block's checksum may be what was hit, not its rows.
    """
    for name in file.names:
        if name.startswith("checksums/"):
            continue
        array, stored = file.array(name), file.array(f"checksums/{name}")
        for block in np.flatnonzero(stored != block_checksums(array)).tolist():
            first = block * layout.BLOCK_ROWS
            yield Damage(name, first, min(first + layout.BLOCK_ROWS, len(array)) - 1)
    with open(file.path, "rb") as raw:
        found = layout.structure_checksum(raw.fileno(), file.extents)
    if found != int(file.array(layout.STRUCTURE)[0]):
        yield Damage(layout.STRUCTURE, -1, -1)
