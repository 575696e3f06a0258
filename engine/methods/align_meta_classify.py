"""Align + meta classify: ordinary supervised alignment, and a meta-learned classifier.

Rows of that name in the tables of the CROMA paper (Liang, Wu, Ziyin, Morency, Salakhutdinov,
arXiv:2012.02813). Both losses are CROMA's, and so is what it reads: labelled source rows, pairs and
their sets, no target label. Only how e_s, e_t learn from the first differs,

    align      theta^meta <- Adam step on L(e_s, e_t) at theta^meta, `inner_steps` times a task,
    classify   inner steps on L(e_s, phi), then Reptile, as in CROMA,

with one state of Adam for the whole training.
"""

from dataclasses import replace

from xmg.engine.methods.croma import ALIGN, CLASSIFY, STARTS
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.training.starts import aligned

ORDINARY_ALIGN = replace(ALIGN, ordinary=True)

ALIGN_META_CLASSIFY = Trained(
    "align + meta classify", pairs, aligned, (ORDINARY_ALIGN, CLASSIFY), STARTS
)
