"""Open a feature file: O(1), one read-only memory map, no copy."""

import json
import mmap
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xmg.cache import layout
from xmg.cache.errors import XmgError
from xmg.cache.identity import FeatureSpec
from xmg.cache.opening import check_shapes, describe, map_file


class FeatureFile:
    """One dataset seen through one frozen encoder (format 1, see `layout`).

    Arrays are views of a read-only map. `features` is (N, D) for dense files and `frames`
    (T, D) with `offsets` (N + 1,) for sequence files. Raises XmgError when the path is
    missing, is no feature file, is truncated, or has a format from the future.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._map = map_file(self.path)
        self._attributes, self.extents = describe(self.path, self._map)
        check_shapes(self.path, self.extents, len(self._map))
        self._check_indices()

    def __reduce__(self) -> tuple[type["FeatureFile"], tuple[Path]]:
        return FeatureFile, (self.path,)  # workers map the file themselves

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Map the dataset `name`, read-only."""
        offset, shape, dtype = self.extents[name]
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset)

    def advise(self, advice: int, start: int, n_bytes: int) -> None:
        """Tell the system how bytes of the map will be used, as madvise does: the pages of
        `start`, ..., `start + n_bytes - 1`. Raises OSError where it does not take the advice."""
        first = start - start % mmap.PAGESIZE
        self._map.madvise(advice, first, start + n_bytes - first)

    def texts(self, name: str) -> list[str]:
        """Decode the dataset `name`. Raises XmgError where that is damaged."""
        values = self.array(name)
        try:
            return decode(values)
        except XmgError:
            raise _damaged(self.path, name) from None

    @property
    def names(self) -> list[str]:
        """Every dataset, in name order."""
        return list(self.extents)

    @property
    def is_sequence(self) -> bool:
        """Whether rows are sequences of frames."""
        return "frames" in self.extents

    @property
    def features(self) -> npt.NDArray[Any]:
        """(N, D) float16 or float32. Raises XmgError for a sequence file."""
        if self.is_sequence:
            raise XmgError(
                f"{self.path} holds sequences of frames, and this step needs one vector per sample."
                f"\nfix: extract with a pooled encoder, such as logmel40-stats for logmel40"
            )
        return self.array("features")

    @property
    def frames(self) -> npt.NDArray[Any]:
        """(T, D) frames of every row, end to end."""
        return self.array("frames")

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """(N + 1,): row i is frames[offsets[i]:offsets[i + 1]]."""
        return self.array("offsets")

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16 or float32."""
        dtype: np.dtype[Any] = self.extents["frames" if self.is_sequence else "features"][2]
        return dtype

    @property
    def dim(self) -> int:
        """D, the width of a feature vector or frame."""
        return int(self.extents["frames" if self.is_sequence else "features"][1][1])

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any] | list[npt.NDArray[Any]]:
        """Features of rows (n,): a copy (n, D), or for sequences a list of views (T_i, D).

        Raises XmgError where the offsets of a row are out of range.
        """
        if not self.is_sequence:
            taken: npt.NDArray[Any] = self.features[rows]
            return taken
        starts, stops = self.offsets[:-1][rows], self.offsets[1:][rows]
        frames = self.frames
        if not ((starts >= 0) & (starts <= stops) & (stops <= len(frames))).all():
            raise _damaged(self.path, "offsets")
        return [frames[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)]

    @property
    def ids(self) -> npt.NDArray[np.bytes_]:
        """(N,) UTF-8 ids."""
        return self.array("ids")

    @cached_property
    def labels(self) -> npt.NDArray[np.int32]:
        """(N,) class numbers, -1 = unlabelled. Raises XmgError where one is out of range."""
        labels = self.array("labels")
        self._check_range("labels", labels, -1, len(self.array("classes")))
        return labels

    def class_names(self, rows: npt.NDArray[np.int64] | slice = slice(None)) -> list[str | None]:
        """Class name of each of some rows, None = unlabelled; by default of all."""
        return [self.classes[c] if c >= 0 else None for c in self.labels[rows].tolist()]

    @cached_property
    def classes(self) -> list[str]:
        """The C class names, sorted; a label is an index into this list."""
        return self.texts("classes")

    @cached_property
    def number_of_class(self) -> dict[str, int]:
        """The number of each class by its name."""
        return {name: c for c, name in enumerate(self.classes)}

    @property
    def class_offsets(self) -> npt.NDArray[np.int64]:
        """(C + 1,): class c holds class_rows[class_offsets[c]:class_offsets[c + 1]]."""
        return self.array("class_index/offsets")

    def rows_of(self, c: int) -> npt.NDArray[np.int64]:
        """Rows of class c, ascending. Raises XmgError where one is out of range."""
        start, stop = self.class_offsets[c : c + 2].tolist()
        rows: npt.NDArray[np.int64] = self.class_rows[start:stop]
        self._check_range("class_index/rows", rows, 0, len(self))
        return rows

    @property
    def class_rows(self) -> npt.NDArray[np.int64]:
        """(L,) rows grouped by class."""
        return self.array("class_index/rows")

    @property
    def contents(self) -> npt.NDArray[np.uint64]:
        """(N, 2) digest of each input, or (0, 2) where nobody looked inside."""
        return self.array("contents")

    def column(self, name: str) -> npt.NDArray[np.bytes_] | None:
        """(N,) UTF-8 values of a further label column, or None where the file has none."""
        return self.array(f"columns/{name}") if f"columns/{name}" in self.extents else None

    @property
    def columns(self) -> list[str]:
        """Names of the further label columns."""
        return [n.removeprefix("columns/") for n in self.names if n.startswith("columns/")]

    @property
    def rejects(self) -> list[tuple[str, str]]:
        """(id, reason) of each input that could not be read."""
        return list(zip(self.texts("rejects/id"), self.texts("rejects/reason"), strict=True))

    @property
    def dataset(self) -> str:
        """Name of the data."""
        return str(self._attributes["dataset"])

    @property
    def encoder(self) -> str:
        """Name of the frozen encoder."""
        return str(self._attributes["encoder"])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the features."""
        return str(self._attributes["fingerprint"])

    @property
    def spec(self) -> FeatureSpec:
        """What made the features."""
        found = self.provenance
        return FeatureSpec(**{field.name: found[field.name] for field in fields(FeatureSpec)})

    @property
    def provenance(self) -> dict[str, Any]:
        """Every attribute, with its JSON parsed."""
        parsed = {k: json.loads(self._attributes[k]) for k in ("preprocessing", "versions")}
        return {**self._attributes, **parsed}

    def _check_indices(self) -> None:
        """What else is looked up by number; O(1) but for the offsets of the classes."""
        ends = self.class_offsets
        good = ends[0] == 0 and ends[-1] == len(self.class_rows) and (ends[1:] >= ends[:-1]).all()
        if not good:
            raise _damaged(self.path, "class_index/offsets")
        if self.is_sequence and (self.offsets[0] != 0 or self.offsets[-1] != len(self.frames)):
            raise _damaged(self.path, "offsets")

    def _check_range(self, name: str, values: layout.Array, low: int, stop: int) -> None:
        if len(values) and not (values.min() >= low and values.max() < stop):
            raise _damaged(self.path, name)


def _damaged(path: Path, name: str) -> XmgError:
    return XmgError(
        f"{path} is damaged: {name!r} holds values that are out of range. "
        "fix: xmg cache verify says what else is damaged; extract it again"
    )


def decode(values: npt.NDArray[np.bytes_]) -> list[str]:
    """UTF-8 bytes (N,) to strings."""
    try:
        return [value.decode() for value in values.tolist()]
    except UnicodeDecodeError as error:
        raise XmgError(f"a text is damaged ({error}). fix: xmg cache verify says where") from None
