"""Hard negatives: the nearest candidates that are not too near to be true ones."""

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def hardest(
    cosines: npt.NDArray[np.floating],
    own: npt.NDArray[np.floating],
    gap: float,
    chosen: npt.NDArray[np.int64],
) -> None:
    """Fill chosen (B, K) with the K candidates of highest cosine for each source row.

    cosines (B, M >= K) are of source rows with candidates, own (B,) of source rows with their own
    target. A candidate above own[i] - gap may be a false negative, an unlabelled sample of the
    same class, and is taken only when no other is left, the farthest first (positive-aware
    mining, TopK-MarginPos of Moreira et al., arXiv:2407.15831).
    """
    n_chosen, n_candidates = chosen.shape[1], cosines.shape[1]
    for i in range(cosines.shape[0]):
        order = np.argsort(-cosines[i], kind="mergesort")
        n_false = 0
        while n_false < n_candidates and cosines[i, order[n_false]] > own[i] - gap:
            n_false += 1
        for k in range(n_chosen):
            place = n_false + k
            chosen[i, k] = order[place if place < n_candidates else n_candidates - 1 - k]
