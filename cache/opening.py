"""Read what a file says of itself, and trust none of it."""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import h5py

from xmg.cache import layout
from xmg.cache.errors import XmgError

Extents = Mapping[str, layout.Extent]
_TEXTS: Final = (
    "dataset", "encoder", "weights_sha256", "preprocessing", "versions", "fingerprint",
)  # fmt: skip
_ALWAYS: Final = (
    "ids", "labels", "classes", "class_index/offsets", "class_index/rows", "contents",
    "rejects/id", "rejects/reason", layout.STRUCTURE,
)  # fmt: skip


def is_hdf5(path: Path) -> bool:
    """Whether a regular file begins like HDF5, damaged or not."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def describe(path: Path) -> tuple[dict[str, Any], Extents]:
    """Read attributes and extents with HDF5, then let go of it.

    Raises XmgError where the path is no file, or no feature file that this version reads.
    """
    _check_is_file(path)
    try:
        with h5py.File(path, "r") as file:
            attributes = {key: _attribute(file, key, path.stat().st_size) for key in file.attrs}
            _check_format(path, attributes)
            extents = layout.extents(file)
    except XmgError:
        raise
    except Exception as error:  # h5py has many ways to say that bytes make no sense
        raise XmgError(f"{path} is not a readable HDF5 feature file ({error})") from error
    _check_texts(path, attributes)
    return attributes, extents


def check_shapes(path: Path, extents: Extents, size: int) -> None:
    """Raise XmgError unless all datasets are there, lie inside the file, and fit one another."""
    rows = "frames" if "frames" in extents else "features"
    needed = (rows, *_ALWAYS, *(("offsets",) if rows == "frames" else ()))
    summed = [name for name in extents if not name.startswith("checksums/")]
    for name in (*needed, *(f"checksums/{name}" for name in summed)):
        if name not in extents:
            raise XmgError(f"{path} lacks the dataset {name!r}. fix: extract it again")
    for name, extent in extents.items():
        if extent[0] + layout.size_of(extent) > size:
            raise XmgError(f"{path} is truncated inside {name!r}. fix: extract it again")
        if not _fits(name, extents, rows):
            _, shape, dtype = extent
            raise XmgError(
                f"{path} is damaged: {name!r} is {shape} of {dtype}. fix: extract it again"
            )


def _check_is_file(path: Path) -> None:
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            fix = f"fix: xmg extract DATA --encoder NAME -o {path}"
            raise XmgError(f"no feature file at {path}. {fix}") from None
        raise XmgError(f"cannot open {path}: {error.strerror}") from None
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise XmgError(f"{path} is {kind}; a feature file is needed")
    try:
        path.open("rb").close()
    except OSError as error:
        raise XmgError(f"cannot open {path}: {error.strerror}") from None


def _attribute(file: h5py.File, key: str, limit: int) -> Any:
    """One value, as str or int; never larger than the file that it is read from."""
    if file.attrs.get_id(key).get_storage_size() > limit:
        raise ValueError(f"attribute {key} is longer than the file")
    value = file.attrs[key]
    value = value.item() if hasattr(value, "item") else value
    return value.decode() if isinstance(value, bytes) else value


def _check_format(path: Path, attributes: Mapping[str, Any]) -> None:
    version = attributes.get("format_version")
    if attributes.get("format") != layout.FORMAT or not isinstance(version, int):
        raise XmgError(f"{path} is HDF5 but no feature file of xmg. fix: make one with xmg extract")
    if version > layout.VERSION:
        raise XmgError(
            f"{path} has feature format {version}, this xmg reads up to {layout.VERSION}. "
            "fix: pip install --upgrade xmg"
        )


def _check_texts(path: Path, attributes: Mapping[str, Any]) -> None:
    for key in _TEXTS:
        value = attributes.get(key)
        if not isinstance(value, str):
            raise XmgError(f"{path} lacks the attribute {key!r}. fix: extract it again")
        if key in ("preprocessing", "versions"):
            try:
                good = isinstance(json.loads(value), dict)
            except (ValueError, RecursionError):
                good = False
            if not good:
                raise XmgError(f"{path} is damaged: attribute {key!r} is not JSON")


def _fits(name: str, extents: Extents, rows: str) -> bool:
    """Whether a dataset has the shape and the dtype that `layout` gives it."""
    _, shape, dtype = extents[name]
    n, n_rejects = _length(extents, "ids"), _length(extents, "rejects/id")
    n_classes = _length(extents, "classes")
    if name in {"frames", "features"}:
        length = n if name == "features" else _length(extents, "frames")
        return shape == (length, shape[-1]) and shape[-1] > 0 and dtype.name in _DTYPES
    if name == "contents":
        return shape in ((n, 2), (0, 2)) and dtype.str == "<u8"
    if name == layout.STRUCTURE:
        return shape == (1,) and dtype.str == "<u4"
    if name.startswith("checksums/"):
        of = _length(extents, name.removeprefix("checksums/"))
        return shape == (-(-of // layout.BLOCK_ROWS),) and dtype.str == "<u4"
    if name in _NUMBERS:
        lengths = {"labels": n, "offsets": n + 1, "class_index/offsets": n_classes + 1}
        return shape == (lengths.get(name, shape[0]),) and dtype.str == _NUMBERS[name]
    lengths = {"ids": n, "classes": n_classes, "rejects/id": n_rejects, "rejects/reason": n_rejects}
    return shape == (lengths.get(name, n),) and dtype.kind == "S"


_DTYPES: Final = layout.FEATURE_DTYPES
_NUMBERS: Final = {
    "labels": "<i4", "offsets": "<i8", "class_index/offsets": "<i8", "class_index/rows": "<i8",
}  # fmt: skip


def _length(extents: Extents, name: str) -> int:
    shape = extents[name][1] if name in extents else ()
    return shape[0] if shape else -1
