"""CROMA: meta-alignment and meta-classification together.

Liang, Wu, Ziyin, Morency, Salakhutdinov, "Cross-Modal Generalization", ACM Multimedia 2021
(arXiv:2012.02813), algorithm 1. From theta^meta a task takes `inner_steps` on each of

    align      L(e_s, e_t) = -1/B sum_i log f(s_i, t_i) / (f(s_i, t_i) + sum_k f(s_i, n_ik)),
    classify   L(e_s, phi) = -1/n sum_i log softmax(s_i . phi / tau)[y_i],

f(a, b) = exp(a.b / tau), on unit embeddings s of the source, t of the target and n of target rows
of other sets; config.loss names other losses of `align` (`engine/losses/contrastive.py`). e_s
enters `classify` as `align` left it. Then, for e_s, e_t and phi,

    theta^meta <- theta^meta + epsilon (theta - theta^meta).

It reads labelled source rows, and pairs with their sets: concepts where pairs are weak, else what
config.sets says. It reads no target label.
"""

from xmg.engine.config import Start
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import align, classify
from xmg.engine.training.starts import aligned

ALIGN = Stage("align", align, lambda config: config.align_rate)
CLASSIFY = Stage("classify", classify, lambda config: config.classify_rate)

STARTS: tuple[Start, ...] = ("procrustes", "cca")  # plainest first

CROMA = Trained("CROMA", pairs, aligned, (ALIGN, CLASSIFY), STARTS)
