"""scikit-learn's linear classifiers on the support of one task."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, RidgeClassifier

Array = npt.NDArray[Any]


def decision(kind: str, c: float, x: Array, labels: Array, query: Array, n_way: int) -> Array:
    """Decision values (n, n_way) of one task; -inf for a class that no label names."""
    values = np.full((len(query), n_way), -np.inf)
    present = np.unique(labels)
    if len(present) == 1:
        values[:, present] = 0
        return values
    model = RidgeClassifier(1 / c) if kind == "ridge" else LogisticRegression(C=c, max_iter=1000)
    found = model.fit(x, labels).decision_function(query)
    if len(present) == 2:  # one column for the second class
        found = np.stack([-found, found], 1)
    values[:, present] = found
    return values
