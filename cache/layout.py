"""Feature file format 1: names, attributes, and how the datasets lie on disk.

Every dataset is contiguous, uncompressed, page-aligned and allocated when it is created, so
`dset.id.get_offset()` plus a memory map is the read path and any HDF5 tool can read the file.

    /features               (N, D) float16 | float32        dense files
    /frames, /offsets       (T, D), (N + 1,) int64          sequence files: row i is
                                                            frames[offsets[i]:offsets[i + 1]]
    /ids                    (N,) UTF-8, unique
    /labels                 (N,) int32, -1 = unlabelled
    /classes                (C,) UTF-8, sorted
    /columns/NAME           (N,) UTF-8, further label columns
    /contents               (N, 2) uint64: digest of each input; (0, 2) where unknown
    /class_index/offsets    (C + 1,) int64   } CSR from class to its rows
    /class_index/rows       (L,) int64       }
    /rejects/id, /reason    (R,) UTF-8: inputs that could not be read
    /checksums/DATASET      (blocks,) uint32: CRC-32 of each block of BLOCK_ROWS rows
    /checksums/structure    (1,) uint32: CRC-32 of all bytes of the file in no other dataset
                            than checksums, this one left out

Text is fixed-length, zero-padded UTF-8: files made the same way are byte-identical.
"""

import io
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

FORMAT: Final = "xmg-features"
VERSION: Final = 1
BLOCK_ROWS: Final = 1024
PAGE: Final = 4096
STRUCTURE: Final = "checksums/structure"
FEATURE_DTYPES: Final = ("float16", "float32")

Array = npt.NDArray[Any]
Extent = tuple[int, tuple[int, ...], np.dtype[Any]]  # byte offset, shape, dtype


OURS: Final = (
    "features", "frames", "offsets", "ids", "labels", "classes", "columns/", "contents",
    "class_index/", "rejects/", "checksums/",
)  # fmt: skip
_CREATION: Final[Mapping[str, Any]] = {
    "libver": ("v110", "v110"),
    "alignment_threshold": 1,
    "alignment_interval": PAGE,
    "track_order": False,
}


def utf8(values: Sequence[str]) -> Array:
    """Encode to a fixed-length byte array (N,) 'S'; at least one byte wide."""
    encoded = [v.encode() for v in values]
    width = max(map(len, encoded), default=0)
    return np.array(encoded, dtype=f"S{max(width, 1)}")


def create(file: io.RawIOBase | io.BytesIO) -> h5py.File:
    """Have HDF5 begin a new file whose datasets will start on page boundaries."""
    return h5py.File(file, "w", **_CREATION)


def set_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Store text at a fixed length, in the header, where HDF5 guards it with a checksum."""
    for key, value in attributes.items():
        if isinstance(value, str):
            data = value.encode()
            file.attrs.create(key, data, dtype=h5py.string_dtype("utf-8", max(len(data), 1)))
        else:
            file.attrs[key] = value


def allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Create a contiguous dataset whose bytes exist on disk at once (nothing is filled in)."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    creation.set_obj_track_times(False)  # same input, same bytes, at any hour
    links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    h5type = h5py.h5t.py_create(_h5_dtype(dtype), logical=True)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5type, space, dcpl=creation, lcpl=links)


def _h5_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "S":
        text: np.dtype[Any] = h5py.string_dtype("utf-8", dtype.itemsize)
        return text
    return dtype.newbyteorder("<")


def extents(file: h5py.File) -> dict[str, Extent]:
    """Return name -> (byte offset, shape, dtype) of every dataset of ours, in name order.

    An empty dataset has offset 0. Raises ValueError where the layout is not contiguous.
    """
    found: dict[str, Extent] = {}

    def visit(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset) or not name.startswith(OURS):
            return
        offset = item.id.get_offset()
        if offset is None and item.size:
            raise ValueError(f"dataset {name} is chunked or compressed")
        dtype = np.dtype(f"S{item.dtype.itemsize}") if item.dtype.kind == "S" else item.dtype
        found[name] = (offset or 0, item.shape, dtype)

    file.visititems(visit)
    return found


def size_of(extent: Extent) -> int:
    """Bytes of a dataset."""
    _, shape, dtype = extent
    return dtype.itemsize * int(math.prod(shape))


@lru_cache
def rows_offset() -> int:
    """Where this HDF5 puts the first dataset of a file, whatever its size."""
    with create(io.BytesIO()) as file:
        allocate(file, "features", (1, 1), np.dtype("<f2"))
        return extents(file)["features"][0]


def structure_checksum(fd: int, extents: Mapping[str, Extent]) -> int:
    """CRC-32 of every byte that is in no dataset with checksums: headers, attributes, sums."""
    spans = [
        (extent[0], extent[0] + size_of(extent))
        for name, extent in extents.items()
        if name == STRUCTURE or (size_of(extent) and not name.startswith("checksums/"))
    ]
    crc, position = 0, 0
    for start, stop in [*sorted(spans), (os.fstat(fd).st_size, 0)]:
        while position < start and (data := os.pread(fd, min(1 << 23, start - position), position)):
            crc, position = zlib.crc32(data, crc), position + len(data)
        position = max(position, stop)
    return crc


def class_index(
    labels: npt.NDArray[np.int32], n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """CSR from class to rows: class c holds rows[offsets[c]:offsets[c + 1]], ascending."""
    order = np.argsort(labels, kind="stable").astype(np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=n_classes)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, order[len(labels) - offsets[-1] :]
