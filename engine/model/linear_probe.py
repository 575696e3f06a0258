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
    found = _fitted(kind, c, x, labels).decision_function(query)
    if len(present) == 2:  # one column for the second class
        found = np.stack([-found, found], 1)
    values[:, present] = found
    return values


def weights_of(c: float, x: Array, labels: Array, n_way: int) -> tuple[Array, Array]:
    """Weights (d, n_way) and bias (n_way,) whose softmax(x . weights + bias) are probabilities.

    Of the logistic regression of `decision`; the bias is -inf for a class that no label names.
    Where two are named, 1 / (1 + exp(-f)) is the probability of the second, of logits -f / 2 and
    f / 2.
    """
    weights, bias = np.zeros((x.shape[1], n_way)), np.full(n_way, -np.inf)
    present = np.unique(labels)
    if len(present) == 1:
        bias[present] = 0
        return weights, bias
    model = _fitted("logistic", c, x, labels)
    coefficients, intercept = model.coef_, model.intercept_
    if len(present) == 2:
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weights[:, present], bias[present] = coefficients.T, intercept
    return weights, bias


def _fitted(kind: str, c: float, x: Array, labels: Array) -> Any:
    model = RidgeClassifier(1 / c) if kind == "ridge" else LogisticRegression(C=c, max_iter=1000)
    return model.fit(x, labels)
