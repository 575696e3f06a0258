"""What HDF5 writes around the rows, in memory: it never meets a full disk or a terabyte."""

import io
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from xmg.cache import layout

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]


class Writes(io.RawIOBase):
    """A file that nobody reads back: `pieces` are the bytes by where they belong."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.size = self._at = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte counted from the start, or, as HDF5 does to learn the size, the end."""
        self._at = offset + (self.size if whence == io.SEEK_END else 0)
        return self._at

    def tell(self) -> int:  # noqa: D102
        return self._at

    def write(self, data: Any) -> int:
        """Note the bytes."""
        self.pieces.append((self._at, bytes(data)))
        self._at += len(data)
        self.size = max(self.size, self._at)
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self.size = self._at if size is None else size
        return self.size


def skeleton(
    rows: str, shapes: Shapes, attributes: Mapping[str, Any]
) -> tuple[Writes, dict[str, layout.Extent]]:
    """Have HDF5 lay out a file with the dataset `rows` first, the others, and their checksums.

    shapes: (shape, dtype) by name. Returns what HDF5 wrote, and where each dataset is.
    """
    written = Writes()
    names = [rows, *(name for name in shapes if name != rows)]
    sums = {
        f"checksums/{name}": ((-(-shapes[name][0][0] // layout.BLOCK_ROWS),), np.dtype("<u4"))
        for name in names
    }
    with layout.create(written) as file:
        for name, (shape, dtype) in itertools.chain(
            ((name, shapes[name]) for name in names), sums.items()
        ):
            layout.allocate(file, name, shape, dtype)
        layout.allocate(file, layout.STRUCTURE, (1,), np.dtype("<u4"))
        layout.set_attributes(file, attributes)
        extents = layout.extents(file)
    return written, extents
