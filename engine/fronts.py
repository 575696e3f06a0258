"""Both modalities' frozen fronts."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from xmg.engine.problem import MetaTrain
from xmg.engine.whitening import Whitening, fit_whitening


@dataclass(frozen=True, slots=True)
class Fronts:
    """What lies between the cached features and the heads."""

    source: Whitening
    target: Whitening


def fit_fronts(train: MetaTrain, width: int) -> Fronts:
    """Whiten either modality on all its meta-training rows; reads no label."""
    source = np.concatenate([train.source.rows, train.sets.source_rows])
    return Fronts(
        fit_whitening(train.source.file, source, width),
        fit_whitening(train.target, train.sets.target_rows, width),
    )


def mean_frame(x: Tensor) -> Tensor:
    """Sequences (..., L, D + 1) whose last column marks frames to the mean of those, (..., D)."""
    mark = x[..., -1:].float()
    return (x[..., :-1] * mark).sum(-2) / mark.sum(-2).clamp_min(1)
