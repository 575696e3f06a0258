"""Open a feature file: O(1), one read-only memory map, no copy."""

import json
import mmap
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from xmg.cache import layout
from xmg.cache.errors import XmgError

_REQUIRED = ("ids", "labels", "classes", "class_index/offsets", "class_index/rows")


class FeatureFile:
    """One dataset seen through one frozen encoder (format 1, see `layout`).

    Arrays are views of a read-only map. `features` is (N, D) for dense files and `frames`
    (T, D) with `offsets` (N + 1,) for sequence files. Raises XmgError when the path is
    missing, is no feature file, is truncated, or has a format from the future.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._attributes, self._extents = _describe(self.path)
        with open(self.path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._check()

    def __reduce__(self) -> tuple[type["FeatureFile"], tuple[Path]]:
        return FeatureFile, (self.path,)  # workers map the file themselves

    def __len__(self) -> int:
        return len(self.ids)

    def array(self, name: str) -> npt.NDArray[Any]:
        """Map the dataset `name`, read-only."""
        offset, shape, dtype = self._extents[name]
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, buffer=self._map, offset=offset)

    @property
    def is_sequence(self) -> bool:
        """Whether rows are sequences of frames."""
        return "frames" in self._extents

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
    def dim(self) -> int:
        """D, the width of a feature vector or frame."""
        return int(self._extents["frames" if self.is_sequence else "features"][1][1])

    @property
    def ids(self) -> npt.NDArray[np.bytes_]:
        """(N,) UTF-8 ids."""
        return self.array("ids")

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """(N,) class numbers, -1 = unlabelled."""
        return self.array("labels")

    @cached_property
    def classes(self) -> list[str]:
        """The C class names, sorted; a label is an index into this list."""
        return decode(self.array("classes"))

    @property
    def class_offsets(self) -> npt.NDArray[np.int64]:
        """(C + 1,): class c holds class_rows[class_offsets[c]:class_offsets[c + 1]]."""
        return self.array("class_index/offsets")

    @property
    def class_rows(self) -> npt.NDArray[np.int64]:
        """(L,) rows grouped by class."""
        return self.array("class_index/rows")

    def column(self, name: str) -> npt.NDArray[np.bytes_] | None:
        """(N,) UTF-8 values of a further label column, or None where the file has none."""
        return self.array(f"columns/{name}") if f"columns/{name}" in self._extents else None

    @property
    def rejects(self) -> list[tuple[str, str]]:
        """(id, reason) of each input that could not be read."""
        ids, reasons = self.array("rejects/id"), self.array("rejects/reason")
        return list(zip(decode(ids), decode(reasons), strict=True))

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
    def provenance(self) -> dict[str, Any]:
        """Every attribute, with its JSON parsed."""
        parsed = {k: json.loads(self._attributes[k]) for k in ("preprocessing", "versions")}
        return {**self._attributes, **parsed}

    def damaged(self) -> list[tuple[str, int]]:
        """Compare every block with its checksum; returns (dataset, first row) of the bad ones."""
        bad: list[tuple[str, int]] = []
        for name in self._extents:
            if name.startswith("checksums/"):
                continue
            stored = self.array(f"checksums/{name}")
            found = layout.block_checksums(self.array(name))
            bad += [(name, int(b) * layout.BLOCK_ROWS) for b in np.flatnonzero(stored != found)]
        return bad

    def _check(self) -> None:
        missing = [name for name in _REQUIRED if name not in self._extents]
        if missing or not {"features", "frames"} & self._extents.keys():
            raise XmgError(f"{self.path} lacks the dataset {(missing or ['features'])[0]!r}")
        for name, (offset, shape, dtype) in self._extents.items():
            if offset + dtype.itemsize * int(np.prod(shape)) > len(self._map):
                raise XmgError(f"{self.path} is truncated inside {name!r}. fix: extract it again")


def is_hdf5(path: Path) -> bool:
    """Whether a regular file begins like HDF5, damaged or not."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def decode(values: npt.NDArray[np.bytes_]) -> list[str]:
    """UTF-8 bytes (N,) to strings."""
    return [value.decode() for value in values.tolist()]


def _describe(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read attributes and extents with HDF5, then let go of it."""
    if not path.is_file():
        raise XmgError(f"no feature file at {path}. fix: xmg extract DATA --encoder NAME -o {path}")
    try:
        with h5py.File(path, "r") as file:
            attributes = {k: v.item() if hasattr(v, "item") else v for k, v in file.attrs.items()}
            extents = layout.extents(file)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise XmgError(f"{path} is not a readable HDF5 feature file ({error})") from error
    if attributes.get("format") != layout.FORMAT:
        raise XmgError(f"{path} is HDF5 but no feature file of xmg. fix: make one with xmg extract")
    if int(attributes.get("format_version", 0)) > layout.VERSION:
        raise XmgError(
            f"{path} has feature format {attributes['format_version']}, this xmg reads up to "
            f"{layout.VERSION}. fix: pip install --upgrade xmg"
        )
    return attributes, extents
