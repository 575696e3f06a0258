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
    /class_index/offsets    (C + 1,) int64   } CSR from class to its rows
    /class_index/rows       (L,) int64       }
    /rejects/id, /reason    (R,) UTF-8: inputs that could not be read
    /checksums/DATASET      (blocks,) uint32: CRC-32 of each block of BLOCK_ROWS rows

Text is fixed-length, zero-padded UTF-8: files made the same way are byte-identical.
"""

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import numpy.typing as npt

FORMAT: Final = "xmg-features"
VERSION: Final = 1
BLOCK_ROWS: Final = 1024
PAGE: Final = 4096
FEATURE_DTYPES: Final = ("float16", "float32")

Array = npt.NDArray[Any]


def utf8(values: Sequence[str]) -> Array:
    """Encode to a fixed-length byte array (N,) 'S'; at least one byte wide."""
    encoded = [v.encode() for v in values]
    width = max(map(len, encoded), default=0)
    return np.array(encoded, dtype=f"S{max(width, 1)}")


def create(path: Path) -> h5py.File:
    """Open a new file whose datasets will start on page boundaries."""
    return h5py.File(
        path,
        "w-",
        libver=("v110", "v110"),
        alignment_threshold=1,
        alignment_interval=PAGE,
        track_order=False,
    )


def allocate(file: h5py.File, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Create a contiguous dataset whose bytes exist on disk at once (nothing is filled in)."""
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.CONTIGUOUS)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
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


def extents(file: h5py.File) -> dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]]:
    """Return name -> (byte offset, shape, dtype) of every dataset, in name order.

    An empty dataset has offset 0. Raises ValueError where the layout is not contiguous.
    """
    found: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}

    def visit(name: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        offset = item.id.get_offset()
        if offset is None and item.size:
            raise ValueError(f"dataset {name} is chunked or compressed")
        dtype = np.dtype(f"S{item.dtype.itemsize}") if item.dtype.kind == "S" else item.dtype
        found[name] = (offset or 0, item.shape, dtype)

    file.visititems(visit)
    return found


def block_checksums(array: Array) -> npt.NDArray[np.uint32]:
    """CRC-32 of the bytes of each block of BLOCK_ROWS rows."""
    crcs = [zlib.crc32(np.ascontiguousarray(rows).data) for _, rows in blocks(array)]
    return np.array(crcs, dtype=np.uint32)


def blocks(array: Array) -> Iterator[tuple[int, Array]]:
    """Yield (first row, rows) for each block of BLOCK_ROWS rows."""
    for first in range(0, len(array), BLOCK_ROWS):
        yield first, array[first : first + BLOCK_ROWS]


def class_index(
    labels: npt.NDArray[np.int32], n_classes: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """CSR from class to rows: class c holds rows[offsets[c]:offsets[c + 1]], ascending."""
    order = np.argsort(labels, kind="stable").astype(np.int64)
    counts = np.bincount(labels[labels >= 0], minlength=n_classes)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, order[len(labels) - offsets[-1] :]
