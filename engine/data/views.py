"""What a system may read, as types: each receives one of these, and none of them leads further.

Files in them are sealed where their labels are not for the holder: see `xmg.cache.Sealed`.
"""

from dataclasses import dataclass

from xmg.cache import Sealed
from xmg.cache.pairs import PairedSets
from xmg.engine.data.pool import Pool


@dataclass(frozen=True, slots=True)
class MetaTrain:
    """Labelled source classes, and sets of pairs: the target's rows without their labels."""

    source: Pool
    target: Sealed
    sets: PairedSets


@dataclass(frozen=True, slots=True)
class TargetOnly:
    """Target rows in groups: all of them as one, weak sets, or classes. No source."""

    target: Pool


@dataclass(frozen=True, slots=True)
class WithTargetLabels:
    """Everything that meta-training has, and labels of its target classes too."""

    train: MetaTrain
    target: Pool


@dataclass(frozen=True, slots=True)
class NewSource:
    """Everything that meta-training has, and source samples of the held-out classes."""

    train: MetaTrain
    source: Pool


@dataclass(frozen=True, slots=True)
class Nothing:
    """No row at all, only what a row looks like."""

    dim: int
    frames: bool


Trainable = MetaTrain | TargetOnly | WithTargetLabels  # what episodes can be drawn from
View = Trainable | NewSource | Nothing


@dataclass(frozen=True, slots=True)
class MetaValidation:
    """Target classes for selection: checkpoint, classifier's start, rates, steps."""

    target: Pool


@dataclass(frozen=True, slots=True)
class MetaTest:
    """Target classes that are seen once, to report."""

    target: Pool
