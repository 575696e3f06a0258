"""CRC-32 of each block of BLOCK_ROWS rows, computed while rows are written or read."""

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from xmg.cache import layout


class RunningChecksums:
    """Checksums of blocks whose rows come by in order, from the first to the last."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, int]] = {}  # block -> (next row, CRC so far)

    def add(self, at: int, rows: layout.Array) -> dict[str, int]:
        """Take rows at, at + 1, ...; returns the checksum of each block that they complete."""
        complete: dict[str, int] = {}
        stop = at + len(rows)
        for row in _cuts(at, stop):
            block, end = row // layout.BLOCK_ROWS, min(_next_block(row), stop)
            next_row, crc = self._open.pop(block, (block * layout.BLOCK_ROWS, 0))
            if next_row != row:
                continue  # its first rows were written elsewhere, or by an earlier run
            crc = zlib.crc32(rows[row - at : end - at].data, crc)
            if end % layout.BLOCK_ROWS:
                self._open[block] = (end, crc)
            else:
                complete[str(block)] = crc
        return complete


def block_checksums(array: layout.Array) -> npt.NDArray[np.uint32]:
    """CRC-32 of the bytes of each block of BLOCK_ROWS rows."""
    if len(array) <= layout.BLOCK_ROWS:
        return np.array([*map(_crc, blocks(array))], np.uint32)
    with ThreadPoolExecutor(4) as pool:  # zlib lets other threads run
        return np.array([*pool.map(_crc, blocks(array))], np.uint32)


def blocks(array: layout.Array) -> Iterator[layout.Array]:
    """Yield each block of BLOCK_ROWS rows."""
    for first in range(0, len(array), layout.BLOCK_ROWS):
        yield array[first : first + layout.BLOCK_ROWS]


def _cuts(start: int, stop: int) -> Iterator[int]:
    """First row of each part of start, ..., stop - 1 that lies in one block."""
    while start < stop:
        yield start
        start = _next_block(start)


def _next_block(row: int) -> int:
    return (row // layout.BLOCK_ROWS + 1) * layout.BLOCK_ROWS


def _crc(rows: layout.Array) -> int:
    return zlib.crc32(np.ascontiguousarray(rows).data)
