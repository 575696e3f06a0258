"""What a feature file holds and what made it: enough to tell whether two are the same."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError

_MOST_BYTES: Final = 60_000  # HDF5 puts 64 KiB into one attribute
_TEXTS: Final = ("dataset", "encoder", "weights_sha256")
_SHOWN: Final = 4  # values that differ
_LETTERS: Final = 60  # of each
Contents = npt.NDArray[np.uint64]  # (N, 2): 128 bits of digest for each input


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What made the features: the same spec over the same inputs gives the same numbers."""

    dataset: str
    encoder: str
    weights_sha256: str  # "" for an encoder without weights
    preprocessing: Mapping[str, Any]
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in _TEXTS and not isinstance(value, str):
                raise XmgError(f"{name} is {value!r}, no text. fix: put its name in quotes")
            if len(json.dumps(value).encode()) > _MOST_BYTES:
                raise XmgError(f"{name} is longer than the {_MOST_BYTES:,} bytes that a file keeps")


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs of a file, in row order. `labels[i]` is a class name, or None.

    contents: (N, 2) uint64 from `content_digest`, or (0, 2) where nobody looked inside.
    """

    ids: Sequence[str]
    labels: Sequence[str | None]
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    contents: Contents = field(default_factory=lambda: np.empty((0, 2), np.uint64))

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.labels), *map(len, self.columns.values())}
        if len(self.contents):
            lengths.add(len(self.contents))
        if len(lengths) > 1:
            raise XmgError(f"ids, labels and columns differ in length: {sorted(lengths)}")
        names = [*self.ids, *(name for name in self.labels if name is not None)]
        _check_unicode(names)
        _check_ids(self.ids)
        for column, values in self.columns.items():
            named = isinstance(column, str) and column not in {"", "."}
            if not named or "/" in column or "\0" in column:
                raise XmgError(f"the column name {column!r} cannot be stored. fix: rename it")
            _check_unicode([column, *values])
            if cut := [value for value in values if value.endswith("\0")]:
                raise XmgError(
                    f"the column {column!r} has a value that ends in a NUL byte: {cut[0]!r}. "
                    "fix: correct it in the data"
                )
        if bad := [name for name in names if not name or name.endswith("\0")]:
            raise XmgError(
                f"ids and labels may not be empty or end in a NUL byte: {bad[0]!r}. "
                "fix: correct it in the data"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def digest(self) -> str:
        """SHA-256 of ids, labels, columns and contents."""
        columns = {name: list(values) for name, values in sorted(self.columns.items())}
        sha = hashlib.sha256(json.dumps([list(self.ids), list(self.labels), columns]).encode())
        sha.update(np.ascontiguousarray(self.contents, "<u8").tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Reject:
    """Stands in a row's place when its input could not be read."""

    reason: str


def content_digest(*parts: bytes) -> tuple[int, int]:
    """128 bits of BLAKE2b over the parts, for one row of `Listing.contents`."""
    blake = hashlib.blake2b(digest_size=16)
    for part in parts:
        blake.update(part)
    whole = blake.digest()
    return int.from_bytes(whole[:8], "little"), int.from_bytes(whole[8:], "little")


def fingerprint(spec: FeatureSpec, listing: Listing, dtype: str) -> str:
    """SHA-256 over the spec, the listing and the dtype: same fingerprint, same features."""
    whole = {**asdict(spec), "listing": listing.digest(), "dtype": dtype}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def recipe(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing without what the device decides, which changes last digits only."""
    return {key: value for key, value in preprocessing.items() if key != "compute"}


def meaning(spec: FeatureSpec) -> dict[str, Any]:
    """What has to agree for features to mean the same, whatever data they are of."""
    return {
        "encoder": spec.encoder,
        "weights": spec.weights_sha256,
        "preprocessing": recipe(spec.preprocessing),
    }


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Name the first values that differ, such as `dtype is "float16", would be "float32"`."""
    left, right = _flat(found), _flat(wanted)
    keys = [key for key in sorted(left | right) if left.get(key) != right.get(key)]
    said = [f"{k} is {_cut(left.get(k))}, would be {_cut(right.get(k))}" for k in keys[:_SHOWN]]
    more = [f"and {len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    return "; ".join([*said, *more])


def _cut(value: str | None) -> str:
    text = str(value)
    return text if len(text) <= _LETTERS else f"{text[:_LETTERS]}..."


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    """{"a": {"b": 1}} to {"a.b": "1"}, values as JSON so that tuples equal lists."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        parts = {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else None
        flat |= {k: json.dumps(v) for k, v in (parts or {key: value}).items()}
    return flat


def _check_ids(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise XmgError(f"the id {name!r} occurs twice. fix: make ids unique")
        seen.add(name)


def _check_unicode(values: Sequence[str]) -> None:
    for value in values:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise XmgError(f"{value!r} is not valid Unicode. fix: correct it in the data") from None
