"""xmg: few-shot classification across modalities by meta-alignment.

    >>> import xmg
    >>> xmg.CrossModalClassifier()
    CrossModalClassifier()

Reference: Liang, Wu, Ziyin, Morency, Salakhutdinov, "Cross-Modal Generalization:
Learning in Low Resource Modalities via Meta-Alignment", ACM Multimedia 2021
(arXiv:2012.02813).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmg.engine.predict.classifier import CrossModalClassifier, load

__version__ = "0.1.0"
__all__ = ["CrossModalClassifier", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for: the command's help answers at once."""
    if name in ("CrossModalClassifier", "load"):
        from xmg.engine.predict import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'xmg' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, and what is loaded when it is asked for."""
    return sorted({*globals(), *__all__})
