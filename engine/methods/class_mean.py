"""Nearest class mean on frozen target features: no pairs, no source, nothing meta-trained."""

from xmg.engine.learner import Learner
from xmg.engine.whitening import Whitening


def raw() -> Learner:
    """Cosine to the class means of the encoder's features. Touches no meta-training data."""
    return Learner(lambda x: x)


def whitened(front: Whitening) -> Learner:
    """The same after PCA-whitening on unlabelled target samples of meta-training."""
    return Learner(front)
