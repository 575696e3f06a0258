"""Align + meta classify: ordinary supervised alignment, and a meta-learned classifier.

CROMA paper (arXiv:2012.02813), table rows of that name. As CROMA but for the alignment, whose
steps move the heads themselves.
"""

from dataclasses import replace

from xmg.engine.methods.croma import ALIGN, CLASSIFY, STARTS
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.training.starts import aligned

ORDINARY_ALIGN = replace(ALIGN, ordinary=True)

ALIGN_META_CLASSIFY = Trained(
    "align + meta classify", pairs, aligned, (ORDINARY_ALIGN, CLASSIFY), STARTS
)
