"""CROMA: meta-alignment and meta-classification together (arXiv:2012.02813, algorithm 1)."""

from xmg.engine.config import Config, Start
from xmg.engine.fronts import Fronts, fit_fronts
from xmg.engine.heads import Theta
from xmg.engine.meta_learn import Stage
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.phases import align, classify
from xmg.engine.starts import aligned
from xmg.engine.views import MetaTrain

ALIGN = Stage("align", align, lambda config: config.align_rate)
CLASSIFY = Stage("classify", classify, lambda config: config.classify_rate)


def start(train: MetaTrain, config: Config) -> tuple[Fronts, Theta]:
    """Fronts of both modalities, and heads as config.start says."""
    fronts = fit_fronts(train, config.front_width)
    return fronts, aligned(train, fronts, config)


STARTS: tuple[Start, ...] = ("procrustes", "cca")  # plainest first

CROMA = Trained("CROMA", pairs, start, (ALIGN, CLASSIFY), STARTS)
