"""scikit-learn's interface to a meta-trained model: fit on a few labels, predict."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from xmg.cache import XmgError
from xmg.cache.exchange.arrays import from_tensor, hides
from xmg.engine.compute import flushed_denormals
from xmg.engine.config import Config
from xmg.engine.data.fetch import padded
from xmg.engine.learner import CLASS_MEANS, Adapted, Learner, adapt
from xmg.engine.predict.calibration import check_coverage, tune
from xmg.engine.predict.model import Model, load_model

Array = npt.NDArray[Any]
_TAU: float = Config.model_fields["tau"].default
_ROWS = 4096  # classified at a time
_MANY, _FOLDS = 100, 20  # groups beyond which so many folds are left out


class CrossModalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A few-shot classifier of target features that borrows from another modality.

    run: a folder of `xmg meta-train` or of `xmg export`, or a Model. None is the classifier that
    knows no other modality: cosine to the class means of the features.

        >>> support = [[2.0, 0.1], [1.8, 0.3], [0.2, 1.9]]
        >>> classifier = CrossModalClassifier().fit(support, ["bark", "bark", "rain"])
        >>> classifier.predict([[3.0, 0.5], [0.1, 0.7]]).tolist()
        ['bark', 'rain']
        >>> classifier.predict_proba([[1.0, 1.0]]).shape
        (1, 2)

    After `fit`: classes_ (n_way,) sorted; n_features_in_; adapted_; and with a run model_ and
    tuning_: how it answers, with the accuracy to expect (`xmg.engine.predict.calibration.Tuning`).
    """

    def __init__(self, run: str | Path | Model | None = None) -> None:
        self.run = run

    def fit(self, X: Any, y: Any) -> Self:
        """Adapt to a few labelled rows.

        X: (n, D) features of the target modality, an array or a tensor; of a run on sequences a
        list of n arrays (T_i, D). y: (n,) labels, of two classes at least. With a run its held-out
        classes choose how to adapt and calibrate probabilities. Raises XmgError where the run
        cannot be loaded, ValueError where X and y do not fit it.
        """
        model = self._load()
        x, labels = self._labelled(X, y, model)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        n_way = len(self.classes_)
        if n_way < 2:
            raise ValueError(f"labels are of one class, {self.classes_.item(0)!r}; two are needed")
        self.tuning_ = tune(model, n_way, round(len(labels) / n_way)) if model else None
        self.model_ = model
        self.adapted_ = self._adapt(x, torch.from_numpy(numbers))
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probability of each class of classes_, (n, n_way) float64; calibrated with a run."""
        check_is_fitted(self)
        x = self._rows(X)
        with flushed_denormals():
            logits = torch.cat(
                [self.adapted_.logits(part) for part in torch.split(x, _ROWS)]
            ).double()
        found: Array = self._probabilities(logits).numpy()
        return found

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row, (n,)."""
        p = self.predict_proba(X)
        found: Array = self.classes_[p.argmax(1)]
        return found

    def predict_sets(self, X: Any, coverage: float = 0.9) -> npt.NDArray[np.bool_]:
        """Whether each class may be the true one, (n, n_way): see `Tuning.threshold`.

        In tasks like those of the held-out classes the true class is in a share `coverage` of the
        sets, on average. A set of several classes says "unsure". Raises XmgError without a run.
        """
        return self.sets_of(self.predict_proba(X), coverage)

    def sets_of(self, probabilities: Array, coverage: float = 0.9) -> npt.NDArray[np.bool_]:
        """The same of probabilities (n, n_way) that `predict_proba` gave."""
        check_is_fitted(self)
        check_coverage(coverage)
        if self.tuning_ is None:
            raise XmgError(
                "prediction sets are calibrated on the held-out classes of a run, and there is "
                "none. fix: CrossModalClassifier(run=...)"
            )
        found: npt.NDArray[np.bool_]
        found = self.tuning_.sets(torch.from_numpy(probabilities), coverage).numpy()
        return found

    @flushed_denormals()
    def leave_out(self, X: Any, y: Any, groups: Sequence[Any] | None = None) -> Array:
        """Probabilities (n, n_way) of each labelled row by the labels of the others alone.

        The setting of `fit` stays. groups: (n,) rows of one group, such as clips of one recording,
        are left out together, and NaN is a group of its own; of more than 100 groups a twentieth at
        a time. A class all of whose rows are out has probability 0. Raises ValueError for labels
        that `fit` was not told, and where X, y and groups do not fit each other.
        """
        check_is_fitted(self)
        x, labels = self._labelled(X, y, self.model_, reset=False)
        numbers = torch.from_numpy(self._numbers(labels))
        units = range(len(labels)) if groups is None else groups
        check_consistent_length(labels, units)
        names = _grouped(units)
        names = _folds(names, numbers.numpy()) if names.max() >= _MANY else names
        found = torch.zeros(len(labels), len(self.classes_), dtype=torch.float64)
        for name in np.unique(names):
            out = torch.from_numpy(names == name)
            if not out.all():
                left = self._adapt(x[~out], numbers[~out])
                found[out] = self._probabilities(left.logits(x[out]).double())
        return found.numpy()

    def _load(self) -> Model | None:
        if self.run is None or isinstance(self.run, Model):
            return self.run
        return load_model(self.run)

    @flushed_denormals()
    def _adapt(self, x: Tensor, numbers: Tensor) -> Adapted:
        n_way = len(self.classes_)
        if self.model_ is None or self.tuning_ is None:
            return adapt(_ALONE, x, numbers, n_way, CLASS_MEANS, _TAU)
        learner, setting = self.model_.learner_for(n_way), self.tuning_.setting
        return adapt(learner, x, numbers, n_way, setting, self.model_.config.tau)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return self.tuning_.probabilities(logits) if self.tuning_ else logits.softmax(-1)

    def _numbers(self, labels: Array) -> Array:
        """Places of labels in classes_; ValueError for others."""
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            known = ", ".join(repr(name) for name in self.classes_[:9].tolist())
            raise ValueError(f"y has {unknown.item(0)!r}, and fit was told of {known}")
        return np.searchsorted(self.classes_, labels)

    def _labelled(
        self, X: Any, y: Any, model: Model | None, reset: bool = True
    ) -> tuple[Tensor, Array]:
        """X as raw rows that learners read, and labels. reset: whether X decides the width."""
        X, y = _arrays(X, "X"), _arrays(y, "y")
        if model and model.is_sequence:
            return _sequences(X, model.dim), _labels(y, len(X))
        x, labels = validate_data(self, X, y, reset=reset)
        _check_targets(labels)
        return _vectors(x, model), labels

    def _rows(self, X: Any) -> Tensor:
        """X as raw rows that learners read."""
        X = _arrays(X, "X")
        if self.model_ and self.model_.is_sequence:
            return _sequences(X, self.model_.dim)
        return _vectors(validate_data(self, X, reset=False), self.model_)


def _check_targets(labels: Array) -> None:
    """Raise ValueError for labels that are no classes."""
    with warnings.catch_warnings():  # a label or two for each class are no regression problem here
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        check_classification_targets(labels)


_ALONE = Learner(torch.Tensor.contiguous)


def load(run: str | Path) -> CrossModalClassifier:
    """The classifier of a run folder or an exported model, ready to `fit`.

    Raises XmgError where there is none, or it is damaged.
    """
    return CrossModalClassifier(load_model(run))


def _arrays(values: Any, name: str) -> Any:
    """NumPy's view of a tensor, or of each in a list; ValueError where a mask hides values."""
    if hides(values):
        raise ValueError(
            f"{name} is masked, and what a mask hides would count. Leave those rows out"
        )
    return [*map(from_tensor, values)] if isinstance(values, list) else from_tensor(values)


def _grouped(groups: Sequence[Any]) -> Array:
    """The number of each row's group; ValueError where groups have no order."""
    try:
        return np.unique(groups, return_inverse=True, equal_nan=False)[1]
    except TypeError as error:
        raise ValueError(
            f"groups must be all text or all numbers, none missing: {error}"
        ) from error


def _folds(groups: Array, classes: Array) -> Array:
    """The fold of each row, by its group's number; groups of one class lie in different ones, where
    it has no more than there are: a class that is out whole is never answered."""
    order = np.argsort(classes[np.unique(groups, return_index=True)[1]], kind="stable")
    return np.argsort(order)[groups] % _FOLDS


def _vectors(x: Array, model: Model | None) -> Tensor:
    if model and x.shape[1] != model.dim:
        raise ValueError(f"X has {x.shape[1]} features, and the run reads {model.dim}")
    return torch.from_numpy(_within(x, np.float32 if model else np.float64))


def _within(x: Array, dtype: type[np.floating[Any]], name: str = "X") -> Array:
    """A copy of x (..., D) in this precision; ValueError where lengths of rows would overflow."""
    largest = max(float(x.max(initial=0)), -float(x.min(initial=0)))
    most = math.sqrt(np.finfo(dtype).max / x.shape[-1])
    if most < largest < math.inf:
        raise ValueError(
            f"{name} has values up to {largest:.0e}, too large for {np.dtype(dtype)}: its rows of "
            f"{x.shape[-1]} allow {most:.0e}"
        )
    return np.array(x, dtype)


def _sequences(X: Any, dim: int) -> Tensor:
    """A list of (T, D) arrays as padded sequences (n, L, D + 1)."""
    given = [np.asarray(from_tensor(one)) for one in X]
    for i, one in enumerate(given):
        if one.ndim != 2 or one.shape[1] != dim or not len(one):
            raise ValueError(f"X[{i}] has the shape {one.shape}, and the run reads (T, {dim})")
        if not np.isfinite(one).all():
            raise ValueError(f"X[{i}] contains NaN or infinity")
    return padded([_within(one, np.float32, f"X[{i}]") for i, one in enumerate(given)])


def _labels(y: Any, n: int) -> Array:
    labels = np.asarray(y)
    if labels.shape != (n,):
        raise ValueError(f"y has the shape {labels.shape}, and X {n} sequences")
    _check_targets(labels)
    return labels
