"""Copy rows of a memory map into a contiguous batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange


@njit(parallel=True, cache=True, nogil=True)
def gather(table: npt.NDArray[Any], rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
    """out[i] = table[rows[i]] for raw words: table (N, D), rows (n,), out (n, D)."""
    for i in prange(rows.size):
        for j in range(table.shape[1]):
            out[i, j] = table[rows[i], j]
