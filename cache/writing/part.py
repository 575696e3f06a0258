"""What one of several processes puts into an unfinished file."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.writing.assemble import place
from xmg.cache.writing.journal import Plan, read_journals
from xmg.cache.writing.rows import Outputs, RowWriter


class PartWriter:
    """Puts outputs as a FeatureWriter does, which another process holds open.

    done (N,): which inputs had their outputs when this began, or got them by `put`. Raises
    XmgError where nobody has begun the file, or another process writes under the same name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        plan = Plan.load(folder)
        if plan is None:
            raise XmgError(f"{folder} holds no unfinished feature file")
        self.done: npt.NDArray[np.bool_] = place(plan, read_journals(folder)).done
        self._rows = RowWriter(folder, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._rows.close()

    def put(self, first: int, outputs: Outputs) -> None:
        """Write the outputs of inputs first, first + 1, ...; those done stay as they are."""
        put_missing(self._rows, self.done, first, outputs)


def put_missing(rows: RowWriter, done: npt.NDArray[np.bool_], first: int, outputs: Outputs) -> None:
    """Put the outputs of inputs that are not done, and note them in `done`."""
    left = np.flatnonzero(~done[first : first + len(outputs)])
    breaks = np.flatnonzero(np.diff(left) != 1) + 1
    for run in np.split(left, breaks) if len(left) else ():
        start, stop = int(run[0]), int(run[-1]) + 1
        rows.put(first + start, outputs[start:stop])
    done[first : first + len(outputs)] = True
