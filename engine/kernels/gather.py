"""Copy rows of a memory map into a contiguous batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True)
def gather(table: npt.NDArray[Any], rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """out[i] = table[rows[i]] for raw words: table (N, D), rows (n,), out (n, D).

    One thread: it runs beside the training loop, whose threads a second pool would stall.
    """
    for i in range(rows.size):
        for j in range(table.shape[1]):
            out[i, j] = table[rows[i], j]
