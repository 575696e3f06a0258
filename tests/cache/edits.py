"""What other programs may do to a feature file through the HDF5 library."""

from collections.abc import Callable, Iterator
from functools import partial

import h5py
import numpy as np

Edit = Callable[[h5py.File], None]

VALUES = {
    "float64": np.zeros((6, 3)),
    "big-endian": np.zeros((6, 3), ">f2"),
    "flat": np.zeros(6, "f4"),
    "cubic": np.zeros((6, 3, 2), "f4"),
    "scalar": np.float32(1),
    "number": 7,
    "text": "text",
    "not UTF-8": np.array([b"\xff\xfe"] * 6),
    "texts": ["a"] * 6,
    "empty": h5py.Empty("f4"),
    "nothing": np.zeros((0, 0), "f4"),
    "narrow": np.zeros((6, 0), "f4"),
    "long": np.zeros(5000, "i8"),
    "negative": np.full(6, -9, "i4"),
    "negative offsets": np.array([0, -5, 4], "i8"),
    "huge": np.full(6, 1 << 40, "i8"),
    "unsigned": np.zeros(6, "u4"),
    "records": np.zeros(6, [("a", "i4"), ("b", "S3")]),
    "complex": np.zeros(6, "c8"),
    "bool": np.zeros(6, "?"),
    "opaque": np.zeros(6, "V5"),
    "arrays": np.zeros(6, "(2,3)f4"),
    "half": np.zeros((6, 3), "f2"),
}
NAMES = (
    "features", "ids", "labels", "classes", "contents", "columns/speaker", "class_index/offsets",
    "class_index/rows", "rejects/id", "rejects/reason", "checksums/features", "checksums/structure",
)  # fmt: skip
TEXTS = ("format", "format_version", "block_rows", "dataset", "preprocessing", "versions")


def edits() -> Iterator[tuple[str, Edit]]:
    """Every edit with a name that says what it does."""
    for name in NAMES:
        for what, value in VALUES.items():
            yield f"{name} = {what}", partial(_put, name, value)
        for kind in _DATASETS:
            yield f"{name}: {kind}", partial(_make, name, kind)
        for where, link in _LINKS.items():
            yield f"{name} -> {where}", partial(_link, name, link)
        yield f"no {name}", partial(_delete, name)
        yield f"{name} as a group", partial(_group, name)
        yield f"{name} as its own parent", partial(_cycle, name)
    for name in ("columns", "class_index", "rejects", "checksums"):
        yield f"no {name}", partial(_delete, name)
        yield f"{name} = text", partial(_put, name, "text")
        yield f"{name} deep", partial(_deep, name)
        yield f"{name} many", partial(_many, name)
    for name in TEXTS:
        for what, value in VALUES.items():
            yield f"@{name} = {what}", partial(_attribute, name, value)
        yield f"no @{name}", partial(_no_attribute, name)
        for json in ("[]", "{", "{}" * 9, "[" * 50_000, '{"a": ' * 20_000, "9" * 30_000, "\ud800"):
            yield f"@{name} = {json[:9]}", partial(_raw_attribute, name, json)
    yield "many attributes", _many_attributes
    yield "a long attribute", partial(_raw_attribute, "note", "x" * 60_000)
    yield "reference", lambda file: file.attrs.create("dataset", file.ref, dtype=h5py.ref_dtype)


def _put(name, value, file):
    _delete(name, file)
    file[name] = value


def _delete(name, file):
    if name in file:
        del file[name]


def _group(name, file):
    _delete(name, file)
    file.create_group(name)


def _cycle(name, file):
    _delete(name, file)
    file[name] = file["/"]
    file["columns/again"] = file["checksums"]


def _deep(name, file):
    group = file[name]
    for _ in range(300):
        group = group.create_group("g")


def _many(name, file):
    for i in range(70):
        file[f"{name}/extra{i}"] = np.zeros(6, "S1")


def _many_attributes(file):
    for i in range(80):
        file.attrs[f"extra{i}"] = "x" * (40 * i)


def _attribute(name, value, file):
    file.attrs[name] = value


def _no_attribute(name, file):
    del file.attrs[name]


def _raw_attribute(name, text, file):
    data = text.encode("utf-8", "surrogatepass")
    file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def _make(name, kind, file):
    shape, dtype = ((6, 3), "f4") if name == "features" else ((6,), "i4")
    _delete(name, file)
    _DATASETS[kind](file, name, shape, dtype)


def _link(name, link, file):
    _delete(name, file)
    file[name] = link


def _virtual(file, name, shape, dtype):
    virtual = h5py.VirtualLayout(shape, dtype)
    virtual[...] = h5py.VirtualSource("/dev/zero", "data", shape)
    file.create_virtual_dataset(name, virtual)


def _compact(file, name, shape, dtype):
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    h5type = h5py.h5t.py_create(np.dtype(dtype))
    h5py.h5d.create(file.id, name.encode(), h5type, h5py.h5s.create_simple(shape), creation)


_DATASETS = {
    "chunked": lambda f, n, s, d: f.create_dataset(n, s, d, chunks=True),
    "gzip": lambda f, n, s, d: f.create_dataset(n, s, d, compression="gzip"),
    "growing": lambda f, n, s, d: f.create_dataset(n, s, d, maxshape=(None,) * len(s)),
    "unwritten": lambda f, n, s, d: f.create_dataset(n, s, d),
    "astronomic": lambda f, n, s, d: f.create_dataset(n, (1 << 50,), d),
    "filled": lambda f, n, s, d: f.create_dataset(n, s, d, fillvalue=9),
    "external": lambda f, n, s, d: f.create_dataset(n, s, d, external="/dev/zero"),
    "virtual": _virtual,
    "compact": _compact,
}
_LINKS = {
    "itself": h5py.SoftLink("/features"),
    "nowhere": h5py.SoftLink("/nowhere"),
    "another file": h5py.ExternalLink("/dev/zero", "/x"),
}
