"""How alike class names are: a matrix, what it rests on, and the cosine of text embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xmg.cache import XmgError
from xmg.engine.mining.names import spoken

Matrix = npt.NDArray[np.float64]


def _no_evidence(source: str, target: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike the classes of two modalities are by name.

    values: (S + T, S + T), symmetric, source classes first, 1 on the diagonal; more is more
    alike. unknown: names that the measure knows nothing of. evidence: what the similarity of a
    source and a target class rests on, in words; "" where the number says it all. measure: one
    line that says what was measured.
    """

    values: Matrix
    measure: str
    unknown: tuple[str, ...] = ()
    evidence: Callable[[str, str], str] = _no_evidence


def by_vectors(names: Sequence[str], vectors: npt.NDArray[np.floating], made_by: str) -> Similarity:
    """Cosine of text embeddings: sim(a, b) = a.b / |a||b|, and 0 for a vector of zeros.

    vectors: (S + T, D), one for each name. Raises XmgError where one is not finite.
    """
    if vectors.ndim != 2 or len(vectors) != len(names):
        raise ValueError(f"{len(names)} names need as many vectors, got {vectors.shape}")
    finite = np.isfinite(vectors).all(1)
    if not finite.all():
        name = names[int(np.flatnonzero(~finite)[0])]
        raise XmgError(
            f"{made_by} gives the class name {name!r} a vector that is not finite. "
            "fix: --encoder with another text encoder"
        )
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0, 1, lengths)
    values = np.clip(unit @ unit.T, -1, 1)
    unknown = tuple(name for name, x in zip(names, lengths[:, 0], strict=True) if x == 0)
    return Similarity(with_equal_names(names, values), f"cosine of {made_by} embeddings", unknown)


def with_equal_names(names: Sequence[str], values: Matrix) -> Matrix:
    """The matrix with 1 wherever names are the same words, also where a measure knows neither.

    Singular and plural are the same.
    """
    spelt = np.unique(list(map(spoken, names)), return_inverse=True)[1]
    return np.where(spelt[:, None] == spelt[None, :], 1.0, values)
