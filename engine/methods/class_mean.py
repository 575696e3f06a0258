"""Nearest class mean on frozen target features: no pairs, no source, nothing meta-trained."""

from xmg.engine.fronts import mean_frame
from xmg.engine.learner import Learner
from xmg.engine.whitening import Whitening


def raw(frames: bool = False) -> Learner:
    """Cosine to the class means of the encoder's features; of sequences, of their mean frame.

    Touches no meta-training data.
    """
    return Learner(mean_frame if frames else lambda x: x)


def whitened(front: Whitening) -> Learner:
    """The same after PCA-whitening on unlabelled target samples of meta-training."""
    return Learner(lambda x: mean_frame(front(x))) if front.frames else Learner(front)
