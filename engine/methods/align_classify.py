"""Align + classify: alignment and a classifier of all source classes, no meta-learning anywhere.

Rows of that name in the tables of the CROMA paper (Liang, Wu, Ziyin, Morency, Salakhutdinov,
arXiv:2012.02813). theta itself takes Adam steps, on one of

    contrastive   CROMA's alignment loss,
    adversarial   1/2 [mean log(1 + e^-D(s)) + mean log(1 + e^D(t))], D a discriminator; e_s and e_t
                  climb it (Ganin, Lempitsky, ICML 2015),
    cycle         1/4 sum over x in {x_s, x_t} and y in {s, t} of |y V_x - x|^2 / |x|^2, s and t
                  before they are made unit (Pham, Liang, Manzini, Morency, Poczos, AAAI 2019),

and then on cross-entropy of s . C / tau, C a column for each source class. They read labelled
source rows and pairs, no target label. New classes have a classifier of their own, which starts
from nothing or from class means.
"""

import torch

from xmg.engine.config import Config
from xmg.engine.data.views import MetaTrain
from xmg.engine.methods.align_meta_classify import ORDINARY_ALIGN
from xmg.engine.methods.croma import STARTS
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import classify_all, confuse, cycle
from xmg.engine.training.starts import aligned, discriminator


def start(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """As CROMA, with a classifier of all source classes."""
    theta = aligned(train, fronts, config)
    return {**theta, "classes": torch.zeros(config.width, len(train.source.classes))}


def start_adversarial(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """The same with a discriminator of modalities."""
    return {**start(train, fronts, config), **discriminator(config)}


def start_cycle(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """The same with decoders to either modality."""
    decoders = {
        f"{name}.decoder": torch.zeros(config.width, front.offset.numel())
        for name, front in (("source", fronts.source), ("target", fronts.target))
        if front
    }
    return {**start(train, fronts, config), **decoders}


CLASSIFY_ALL = Stage("classify", classify_all, lambda c: c.classify_rate, ordinary=True)
ADVERSARIAL = Stage("confuse", confuse, lambda c: c.align_rate, ordinary=True)
CYCLE = Stage("cycle", cycle, lambda c: c.align_rate, ordinary=True)

CONTRASTIVE = Trained("align + classify", pairs, start, (ORDINARY_ALIGN, CLASSIFY_ALL), STARTS)
BY_CONFUSION = Trained(
    "align + classify (adversarial)",
    pairs,
    start_adversarial,
    (ADVERSARIAL, CLASSIFY_ALL),
    STARTS,
)
BY_CYCLE = Trained("align + classify (cycle)", pairs, start_cycle, (CYCLE, CLASSIFY_ALL), STARTS)
