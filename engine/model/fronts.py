"""The frozen fronts of the modalities that a system may read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xmg.engine.data.views import TargetOnly, Trainable, WithTargetLabels
from xmg.engine.model.whitening import Whitening, fit_whitenings


@dataclass(frozen=True, slots=True)
class Fronts:
    """What lies between the cached features and the heads; no source where none may be read."""

    source: Whitening | None
    target: Whitening


def fit_fronts(view: Trainable, width: int, shrinkages: Sequence[float] = (0.1,)) -> list[Fronts]:
    """Whiten either modality on all its meta-training rows, with each shrinkage; reads no label.

    width: dimensions that are kept, at most.
    """
    if isinstance(view, TargetOnly):
        file = view.target.file
        found = fit_whitenings(file, view.target.rows, width, shrinkages)
        return [Fronts(None, target) for target in found]
    train = view.train if isinstance(view, WithTargetLabels) else view
    file, target = train.source.file, train.target
    source = np.concatenate([train.source.rows, train.sets.source_rows])
    sources = fit_whitenings(file, source, width, shrinkages)
    targets = fit_whitenings(target, train.sets.target_rows, width, shrinkages)
    return list(map(Fronts, sources, targets))
