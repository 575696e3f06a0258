"""Hashed character n-grams: features of text in any script, no weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer

from xmg.extract.encoders.text_file import read_text
from xmg.extract.types import Content, Features, Modality

_OPTIONS: Mapping[str, Any] = {
    "analyzer": "char_wb",
    "ngram_range": (1, 3),
    "n_features": 2048,
    "lowercase": True,
    "norm": "l2",
}


@dataclass(frozen=True, slots=True)
class NgramEncoder:
    """Counts of the 1- to 3-character strings inside words, hashed with sign to 2048 slots.

    Each row has unit length (Weinberger et al., "Feature Hashing for Large Scale Multitask
    Learning", ICML 2009; scikit-learn's HashingVectorizer).
    """

    name: str
    modality: Modality = "text"
    dim: int = _OPTIONS["n_features"]
    sequences: bool = False
    batch_size: int = 256
    weights_sha256: str = ""
    packages: tuple[str, ...] = ("scikit-learn",)
    preprocessing: Mapping[str, Any] = field(default_factory=lambda: dict(_OPTIONS))

    def decode(self, content: Content) -> str:
        """Read a text; raises RejectError where there is none."""
        return read_text(content)

    def encode(self, batch: Sequence[str]) -> Features:
        """Hash (B,) texts to (B, 2048)."""
        rows: Features = HashingVectorizer(**_OPTIONS).transform(batch).toarray()
        return rows.astype(np.float32)


def load(name: str = "char-ngrams") -> NgramEncoder:
    """Return the `char-ngrams` encoder."""
    return NgramEncoder(name)
