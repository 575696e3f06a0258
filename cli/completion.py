"""What the shell may complete; nothing here loads a heavy library, since a key waits for it."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Final

# As in extract/sources and engine/systems.py, which load NumPy and torch; a test compares them
LAYOUTS: Final = ("auto", "folder", "manifest", "esc50", "cifar", "yummly28k", "wilderness")
SYSTEMS: Final = (
    "croma",
    "align-meta-classify",
    "align-classify",
    "align-classify-adversarial",
    "align-classify-cycle",
    "shared",
    "shared-align",
    "shared-confusion",
    "shared-target-labels",
    "reconstruct",
    "weak-labels",
    "set-classifier",
    "oracle",
    "target-classifier",
)

Complete = Callable[[str], list[str]]


def of(*values: str) -> Complete:
    """Complete one of these values."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def encoders(incomplete: str) -> list[str]:
    """Names of encoders, and the prefixes of whole libraries."""
    from xmg.extract.encoders import ENCODERS, PREFIXES

    return of(*ENCODERS, *PREFIXES)(incomplete)


def text_encoders(incomplete: str) -> list[str]:
    """Names of the encoders that read text."""
    from xmg.extract.encoders import PUBLISHED

    return of(*(name for name, one in PUBLISHED.items() if one.modality == "text"))(incomplete)


def specs(incomplete: str) -> list[str]:
    """Names of the ablation specs that come with xmg."""
    return of(*(path.stem for path in shipped_specs()))(incomplete)


def shipped_specs() -> list[Path]:
    """The ablation specs that come with xmg, by name."""
    return sorted(Path(str(files("xmg.engine.ablation") / "specs")).glob("*.toml"))
