"""CROMA: meta-alignment and meta-classification together (arXiv:2012.02813, algorithm 1)."""

from xmg.engine.config import Start
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import align, classify
from xmg.engine.training.starts import aligned

ALIGN = Stage("align", align, lambda config: config.align_rate)
CLASSIFY = Stage("classify", classify, lambda config: config.classify_rate)


STARTS: tuple[Start, ...] = ("procrustes", "cca")  # plainest first

CROMA = Trained("CROMA", pairs, aligned, (ALIGN, CLASSIFY), STARTS)
