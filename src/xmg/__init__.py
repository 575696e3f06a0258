"""xmg: few-shot classification across modalities by meta-alignment.

Reference: Liang, Wu, Ziyin, Morency, Salakhutdinov, "Cross-Modal Generalization:
Learning in Low Resource Modalities via Meta-Alignment", ACM Multimedia 2021
(arXiv:2012.02813).
"""

__version__ = "0.1.0"
