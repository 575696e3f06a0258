"""Sets of strong pairs found by clustering, when nothing names them."""

import warnings
from typing import Final

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError

_MANY_ROWS: Final = 20_000  # from here on k-means on small batches: minutes less, a little worse


def default_n_sets(n_pairs: int, c: float = 1.0) -> int:
    """S* = sqrt(c N), rounded, in 1..N: the number of sets that balances the error of few sets
    against that of small ones, c_1 / S + c_2 S / N (appendix B of Liang et al. 2021), with
    c = c_1 / c_2. Raises XmgError unless c > 0.
    """
    if not c > 0:
        raise XmgError(f"c must be above 0, got {c:g}. fix: -c 1")
    return int(np.clip(round(float(np.sqrt(c * n_pairs))), 1, max(n_pairs, 1)))


def cluster_sets(
    source_x: npt.NDArray[np.floating], n_sets: int, seed: int
) -> npt.NDArray[np.int64]:
    """Set of each row of source_x (N, D) by k-means: (N,) numbers 0, 1, ..., none left out.

    There are n_sets of them, or fewer where fewer rows differ. Equal seeds give equal sets.
    Raises XmgError where a row is not finite, or n_sets is not in 1..N.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if not 1 <= n_sets <= len(source_x):
        raise XmgError(f"{len(source_x)} pairs cannot form {n_sets} sets. fix: fewer --sets")
    finite = np.isfinite(source_x).all(1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise XmgError(f"pair {row} has source features that are not finite. fix: extract it again")
    kind = KMeans if len(source_x) < _MANY_ROWS else MiniBatchKMeans
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than sets
        labels = kind(n_sets, n_init=3, random_state=seed).fit_predict(source_x.astype(np.float32))
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)
