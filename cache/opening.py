"""Read what a file says of itself, and trust none of it."""

import errno
import json
import mmap
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from xmg.cache import layout
from xmg.cache.errors import XmgError
from xmg.cache.hdf5 import file as h5file

Attributes = Mapping[str, Any]
Extents = Mapping[str, layout.Extent]
_TEXTS: Final = (
    "dataset", "encoder", "weights_sha256", "preprocessing", "versions", "fingerprint",
)  # fmt: skip
_ALWAYS: Final = (
    "ids", "labels", "classes", "class_index/offsets", "class_index/rows", "contents",
    "rejects/id", "rejects/reason", layout.STRUCTURE,
)  # fmt: skip


def is_hdf5(path: Path) -> bool:
    """Whether a regular file begins like HDF5, damaged or not. Raises XmgError if unreadable."""
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return file.read(8) == h5file.SIGNATURE
    except OSError as error:
        raise _cannot_open(path, error) from None


def map_file(path: Path) -> mmap.mmap:
    """Map a regular file, read-only. Raises XmgError for everything else, and for empty ones."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe would wait, a device may act
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise XmgError(f"{path} is {kind}; a feature file is needed")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        raise _cannot_open(path, error) from None
    try:
        return mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except ValueError:
        raise XmgError(
            f"{path} is not a readable HDF5 feature file: it is empty. fix: extract it again"
        ) from None
    except OSError as error:
        raise _cannot_open(path, error) from None
    finally:
        os.close(fd)


def describe(path: Path, data: mmap.mmap | bytes) -> tuple[Attributes, Extents]:
    """Read attributes and extents, without the HDF5 library (see `hdf5`).

    Raises XmgError where the bytes are no feature file that this version reads.
    """
    try:
        root = h5file.open_root(data)
        attributes = h5file.attributes(root) if root else {}
        _check_format(path, attributes)
        extents = h5file.datasets(root, layout.OURS) if root else {}
    except ValueError as error:  # MalformedError, or text that is not UTF-8
        raise XmgError(
            f"{path} is not a readable HDF5 feature file: {error}. fix: extract it again"
        ) from None
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
        if not _fits(name, extents):
            _, shape, dtype = extent
            raise XmgError(
                f"{path} is damaged: {name!r} is {shape} of {dtype}. fix: extract it again"
            )


def _cannot_open(path: Path, error: OSError | ValueError) -> XmgError:
    if isinstance(error, UnicodeEncodeError) and error.encoding != "utf-8":
        fix = "fix: export PYTHONUTF8=1"
        return XmgError(
            f"this locale's {error.encoding} cannot write the path {str(path)!r}. {fix}"
        )
    if isinstance(error, ValueError):
        return XmgError(f"{str(path)!r} is no path that a file can have")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        fix = f"fix: xmg extract DATA --encoder NAME -o {path}"
        return XmgError(f"no feature file at {path}. {fix}")
    return XmgError(f"cannot open {path}: {error.strerror}. fix: mend the path or its permissions")


def _check_format(path: Path, attributes: Attributes) -> None:
    version = attributes.get("format_version")
    if attributes.get("format") != layout.FORMAT or not isinstance(version, int) or version < 1:
        raise XmgError(f"{path} is HDF5 but no feature file of xmg. fix: make one with xmg extract")
    if version > layout.VERSION:
        raise XmgError(
            f"{path} has feature format {version}, this xmg reads up to {layout.VERSION}. "
            "fix: pip install --upgrade xmg"
        )
    if attributes.get("block_rows") != layout.BLOCK_ROWS:
        raise XmgError(f"{path} is damaged: attribute 'block_rows'. fix: extract it again")


def _check_texts(path: Path, attributes: Attributes) -> None:
    for key in _TEXTS:
        value = attributes.get(key)
        if not isinstance(value, str):
            raise XmgError(f"{path} lacks the attribute {key!r}, as text. fix: extract it again")
        if key in ("preprocessing", "versions"):
            try:
                good = isinstance(json.loads(value), dict)
            except (ValueError, RecursionError):
                good = False
            if not good:
                raise XmgError(
                    f"{path} is damaged: attribute {key!r} is not JSON. fix: extract it again"
                )


def _fits(name: str, extents: Extents) -> bool:
    """Whether a dataset has the shape and the dtype that `layout` gives it."""
    offset, shape, dtype = extents[name]
    rank = 2 if name in _WIDE else 1
    wanted = (
        ("<u4",) if name.startswith("checksums/") else _DTYPES.get(name, (f"|S{dtype.itemsize}",))
    )
    return (
        len(shape) == rank
        and shape[0] == _rows(name, extents)
        and (shape[-1] == 2 if name == "contents" else rank == 1 or shape[-1] > 0)
        and dtype.str in wanted
        and offset % dtype.alignment == 0  # so that compiled code may read it
    )


def _rows(name: str, extents: Extents) -> int:
    """How many rows a dataset has, by what the others say."""
    n, own = _length(extents, "ids"), _length(extents, name)
    if name.startswith("checksums/") and name != layout.STRUCTURE:
        return -(-_length(extents, name.removeprefix("checksums/")) // layout.BLOCK_ROWS)
    rows = {
        "frames": own, "offsets": n + 1, "classes": own, "class_index/rows": own,
        "class_index/offsets": _length(extents, "classes") + 1, "rejects/id": own,
        "rejects/reason": _length(extents, "rejects/id"), "contents": n if own else 0,
        layout.STRUCTURE: 1,
    }  # fmt: skip
    return rows.get(name, n)


def _length(extents: Extents, name: str) -> int:
    shape = extents[name][1] if name in extents else ()
    return shape[0] if shape else -1


_WIDE: Final = ("features", "frames", "contents")
_DTYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "features": ("<f2", "<f4"), "frames": ("<f2", "<f4"), "labels": ("<i4",), "offsets": ("<i8",),
    "class_index/offsets": ("<i8",), "class_index/rows": ("<i8",), "contents": ("<u8",),
}  # fmt: skip
