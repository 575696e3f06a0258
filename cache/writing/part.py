"""What one of several processes puts into an unfinished file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xmg.cache.writing.assemble import place
from xmg.cache.writing.journal import read_journals
from xmg.cache.writing.rows import Outputs, RowWriter


class PartWriter:
    """Puts outputs as a FeatureWriter does, which another process holds open.

    done (N,): which inputs had their outputs when this began, or got them by `put`. Raises
    XmgError where nobody has begun the file, or another process writes under the same name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._rows = RowWriter(folder, name)
        self.done: npt.NDArray[np.bool_] = place(self._rows.plan, read_journals(folder)).done

    def put(self, first: int, outputs: Outputs) -> None:
        """Write the outputs of inputs first, first + 1, ...; those done stay as they are."""
        put_missing(self._rows, self.done, first, outputs)

    def close(self) -> None:
        """Bring everything to the disk and let go."""
        self._rows.close()


def put_missing(rows: RowWriter, done: npt.NDArray[np.bool_], first: int, outputs: Outputs) -> None:
    """Put the outputs of inputs that are not done, and note them in `done`."""
    for start, stop in stretches(~done[first : first + len(outputs)]):
        rows.put(first + start, outputs[start:stop])
    done[first : first + len(outputs)] = True


def stretches(wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of each unbroken stretch of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
