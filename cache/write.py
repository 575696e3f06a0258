"""Write a feature file: rows go to scratch files, the whole file appears at once."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from xmg.cache import layout
from xmg.cache.errors import XmgError

_COPY_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What made the features: enough to tell whether two files hold the same thing."""

    dataset: str
    encoder: str
    weights_sha256: str  # "" for an encoder without weights
    preprocessing: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs of a file, in row order. `labels[i]` is a class name, or None."""

    ids: Sequence[str]
    labels: Sequence[str | None]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    content: str = ""  # digest of what the inputs hold

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.labels), *map(len, self.columns.values())}
        if len(lengths) > 1:
            raise XmgError(f"ids, labels and columns differ in length: {sorted(lengths)}")
        seen: set[str] = set()
        for name in self.ids:
            if name in seen:
                raise XmgError(f"the id {name!r} occurs twice; ids must be unique")
            seen.add(name)
        named = (name for name in self.labels if name is not None)
        _check_unicode([*self.ids, *filter(None, self.labels)])
        for column, values in self.columns.items():
            _check_unicode([column, *values])
            if not column or "/" in column or "\0" in column or column == ".":
                raise XmgError(f"the column name {column!r} cannot be stored. fix: rename it")
        bad = [n for n in (*self.ids, *named) if not n or n.endswith("\0")]
        if bad:
            raise XmgError(f"ids and labels may not be empty or end in a NUL byte: {bad[0]!r}")

    def digest(self) -> str:
        """SHA-256 of ids, labels, columns and content."""
        columns = {name: list(values) for name, values in sorted(self.columns.items())}
        rows = json.dumps([list(self.ids), list(self.labels), columns, self.content])
        return hashlib.sha256(rows.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reject:
    """Stands in a row's place when its input could not be read."""

    reason: str


def fingerprint(spec: FeatureSpec, listing: Listing, dtype: str) -> str:
    """SHA-256 over the spec, the listing and the dtype: same fingerprint, same features."""
    whole = {**asdict(spec), "listing": listing.digest(), "dtype": dtype}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


class FeatureWriter:
    """Collect rows in listing order, then make the file appear whole.

        with FeatureWriter(path, spec, listing, dim=512) as writer:
            writer.extend(batch)          # (n, D) rows, or arrays (T_i, D), or Reject

    Dense rows are (D,); with `sequences=True` each input is (T, D) with its own T >= 1.
    A row with NaN or infinite values becomes a reject. Leaving the block with fewer outputs
    than the listing has inputs raises; on any exception nothing stays under the final name.
    """

    def __init__(
        self,
        path: Path,
        spec: FeatureSpec,
        listing: Listing,
        dim: int,
        *,
        dtype: str = "float16",
        sequences: bool = False,
    ) -> None:
        if dtype not in layout.FEATURE_DTYPES:
            raise XmgError(f"dtype must be one of {layout.FEATURE_DTYPES}, got {dtype!r}")
        self.path, self.spec, self.listing = path, spec, listing
        self.dim, self.sequences = dim, sequences
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._kept: list[int] = []
        self._lengths: list[int] = []
        self._rejects: list[tuple[str, str]] = []
        self._n_done = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._rows = open(self._scratch("rows"), "wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._rows.close()
        try:
            if kind is None:
                self._assemble()
        finally:
            self._scratch("rows").unlink(missing_ok=True)
            self._scratch("whole").unlink(missing_ok=True)

    def extend(self, outputs: Iterable[npt.NDArray[Any] | Reject]) -> None:
        """Append the outputs of the next inputs, in listing order."""
        for output in outputs:
            self._append(output)

    def _append(self, output: npt.NDArray[Any] | Reject) -> None:
        if self._n_done == len(self.listing.ids):
            raise XmgError(f"{self.path}: more outputs than the {self._n_done} listed inputs")
        name = self.listing.ids[self._n_done]
        rows = output if isinstance(output, Reject) else self._rows_of(name, output)
        if isinstance(rows, Reject):
            self._rejects.append((name, rows.reason))
        else:
            self._rows.write(rows.tobytes())
            self._kept.append(self._n_done)
            self._lengths.append(len(rows))
        self._n_done += 1

    def _rows_of(self, name: str, output: npt.NDArray[Any]) -> npt.NDArray[Any] | Reject:
        """Check one output's shape and values; returns (T, D) rows in the file's dtype."""
        rows = output if self.sequences else output[None]
        if rows.ndim != 2 or rows.shape[1] != self.dim or not len(rows):
            wanted = f"(T, {self.dim})" if self.sequences else f"({self.dim},)"
            raise XmgError(f"{self.path}: features of {name!r} are {output.shape}, not {wanted}")
        if not np.isfinite(rows).all():
            return Reject("the encoder gave NaN or infinite values")
        if np.abs(rows).max() > np.finfo(self.dtype).max:
            return Reject(f"values overflow {self.dtype.name}; extract with --dtype float32")
        return rows.astype(self.dtype)

    def _scratch(self, what: str) -> Path:
        """A file of this process alone, so that two writers of one path cannot mix rows."""
        return self.path.with_name(f"{self.path.name}.{os.getpid()}.{what}.partial")

    def _assemble(self) -> None:
        if self._n_done != len(self.listing.ids):
            missing = len(self.listing.ids) - self._n_done
            raise XmgError(f"{self.path}: {missing} listed inputs got no features")
        if not self._kept:
            reason = self._rejects[0][1] if self._rejects else "no inputs"
            raise XmgError(f"{self.path}: no input could be encoded (first reason: {reason})")
        whole = self._scratch("whole")
        whole.unlink(missing_ok=True)
        tables = self._tables()
        name = "frames" if self.sequences else "features"
        self._create(whole, name, tables)
        self._fill(whole, name, tables)
        with open(whole, "rb+") as file:
            os.fsync(file.fileno())
        whole.replace(self.path)  # atomic within one file system

    def _tables(self) -> dict[str, layout.Array]:
        """Every dataset but the features and the checksums."""
        labels = [self.listing.labels[i] for i in self._kept]
        classes = sorted({name for name in labels if name is not None})
        code = {name: c for c, name in enumerate(classes)}
        codes = np.array([-1 if n is None else code[n] for n in labels], dtype="<i4")
        offsets, rows = layout.class_index(codes, len(classes))
        tables = {
            "ids": layout.utf8([self.listing.ids[i] for i in self._kept]),
            "labels": codes,
            "classes": layout.utf8(classes),
            "class_index/offsets": offsets,
            "class_index/rows": rows,
            "rejects/id": layout.utf8([name for name, _ in self._rejects]),
            "rejects/reason": layout.utf8([reason for _, reason in self._rejects]),
        }
        for column, values in self.listing.columns.items():
            tables[f"columns/{column}"] = layout.utf8([values[i] for i in self._kept])
        if self.sequences:
            tables["offsets"] = np.concatenate([[0], np.cumsum(self._lengths)]).astype("<i8")
        return tables

    def _create(self, whole: Path, name: str, tables: Mapping[str, layout.Array]) -> None:
        shape = (sum(self._lengths), self.dim)
        with layout.create(whole) as file:
            layout.allocate(file, name, shape, self.dtype)
            layout.allocate(file, f"checksums/{name}", (_n_blocks(shape[0]),), np.dtype("<u4"))
            for table, values in tables.items():
                layout.allocate(file, table, values.shape, values.dtype)
                n_blocks = (_n_blocks(len(values)),)
                layout.allocate(file, f"checksums/{table}", n_blocks, np.dtype("<u4"))
            file.attrs.update(self._attributes())

    def _attributes(self) -> dict[str, Any]:
        return {
            "format": layout.FORMAT,
            "format_version": layout.VERSION,
            "block_rows": layout.BLOCK_ROWS,
            "dataset": self.spec.dataset,
            "encoder": self.spec.encoder,
            "weights_sha256": self.spec.weights_sha256,
            "preprocessing": json.dumps(self.spec.preprocessing, sort_keys=True),
            "versions": json.dumps(self.spec.versions, sort_keys=True),
            "fingerprint": fingerprint(self.spec, self.listing, self.dtype.name),
        }

    def _fill(self, whole: Path, name: str, tables: Mapping[str, layout.Array]) -> None:
        with h5py.File(whole, "r") as file:
            extents = layout.extents(file)
        with open(whole, "rb+") as out, open(self._scratch("rows"), "rb") as rows:
            out.seek(extents[name][0])
            shutil.copyfileobj(rows, out, _COPY_BYTES)
            for table, values in tables.items():
                _put(out, extents[table][0], values)
                _put(out, extents[f"checksums/{table}"][0], layout.block_checksums(values))
            out.flush()
            features = np.memmap(out, self.dtype, "r", *extents[name][:2])
            _put(out, extents[f"checksums/{name}"][0], layout.block_checksums(features))


def _put(out: Any, offset: int, values: layout.Array) -> None:
    out.seek(offset)
    out.write(values.tobytes())


def _check_unicode(values: Sequence[str]) -> None:
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise XmgError(f"{value!r} is not valid Unicode. fix: correct it in the data") from None


def _n_blocks(n_rows: int) -> int:
    return -(-n_rows // layout.BLOCK_ROWS)
