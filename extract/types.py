"""The contracts of extraction: a source lists samples, an encoder turns them into rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Modality = Literal["image", "text", "audio"]
Content = Path | str | npt.NDArray[np.uint8]  # a file, a text, or an (H, W, 3) image
Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: `label` is a class name, or None where unlabelled."""

    id: str
    content: Content
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The listed inputs of one dataset, in an order that never changes.

    columns: further values by sample, such as "recording" (a class's clips of one recording never
    straddle support and query).
    """

    name: str
    samples: Sequence[Sample]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


class RejectError(Exception):
    """This one input cannot be read; the message is the reason. The run goes on."""


class Encoder(Protocol):
    """A frozen map from one input to features.

    name, preprocessing and weights_sha256 (digest of the weight bytes, "" without weights)
    go into the feature file's fingerprint. sequences: whether each output is (T, dim) frames
    rather than one (dim,) vector. at_once, which need not be there: how many batches may be
    encoded side by side, by threads that share the cores evenly; by default one.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def modality(self) -> Modality: ...  # noqa: D102
    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def sequences(self) -> bool: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def weights_sha256(self) -> str: ...  # noqa: D102
    @property
    def preprocessing(self) -> Mapping[str, Any]: ...  # noqa: D102

    def decode(self, content: Content) -> Any:
        """Read and prepare one input; called from several threads. Raises RejectError."""
        ...

    def encode(self, batch: Sequence[Any]) -> Iterable[Features]:
        """Map prepared inputs to float32 features, one array for each, on the device."""
        ...


def at_once(encoder: Encoder) -> int:
    """How many batches of an encoder may be encoded side by side."""
    return int(getattr(encoder, "at_once", 1))
