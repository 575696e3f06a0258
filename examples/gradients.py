"""A frozen encoder of our own: histograms of oriented gradients, for photos."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from xmg.extract.types import Content, RejectError

SIDE, CELL, BINS = 128, 16, 9


class Gradients:
    """Directions of brightness changes in 8 x 8 cells (Dalal, Triggs, CVPR 2005, no blocks)."""

    name = "gradients"
    modality = "image"
    dim = (SIDE // CELL) ** 2 * BINS
    sequences = False
    batch_size = 64
    weights_sha256 = ""
    preprocessing: Mapping[str, Any] = {"side": SIDE, "cell": CELL, "bins": BINS}

    def decode(self, content: Content) -> np.ndarray:
        """Read one photo as grey values (SIDE, SIDE); called from several threads."""
        try:
            photo = Image.open(content) if isinstance(content, Path) else Image.fromarray(content)
            return np.asarray(photo.convert("L").resize((SIDE, SIDE)), np.float32)
        except (OSError, UnidentifiedImageError) as error:
            raise RejectError(f"no picture: {error}") from error

    def encode(self, batch: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Map pictures to unit histograms (dim,)."""
        dy, dx = np.gradient(np.stack(batch), axis=(1, 2))
        strength, angle = np.hypot(dx, dy), np.arctan2(dy, dx) % np.pi
        bins = np.minimum((angle / np.pi * BINS).astype(int), BINS - 1)
        n = SIDE // CELL
        split = (len(batch), n, CELL, n, CELL)
        cells = [np.where(bins == b, strength, 0).reshape(split).sum((2, 4)) for b in range(BINS)]
        rows = np.sqrt(np.stack(cells, -1).reshape(len(batch), -1))
        return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype("f4")


def load() -> Gradients:
    """What --encoder gradients:load calls."""
    return Gradients()
