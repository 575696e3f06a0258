"""The frozen fronts of the modalities that a system may read."""

from dataclasses import dataclass

import numpy as np

from xmg.engine.views import TargetOnly, Trainable, WithTargetLabels
from xmg.engine.whitening import Whitening, fit_whitening


@dataclass(frozen=True, slots=True)
class Fronts:
    """What lies between the cached features and the heads; no source where none may be read."""

    source: Whitening | None
    target: Whitening


def fit_fronts(view: Trainable, width: int) -> Fronts:
    """Whiten either modality on all its meta-training rows; reads no label.

    width: dimensions that are kept, at most.
    """
    if isinstance(view, TargetOnly):
        file = view.target.file
        return Fronts(None, fit_whitening(file, view.target.rows, width))
    train = view.train if isinstance(view, WithTargetLabels) else view
    file, target = train.source.file, train.target
    source = np.concatenate([train.source.rows, train.sets.source_rows])
    return Fronts(
        fit_whitening(file, source, width),
        fit_whitening(target, train.sets.target_rows, width),
    )
