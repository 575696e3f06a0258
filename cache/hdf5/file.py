"""Datasets and attributes of an HDF5 file, as far as format 1 uses HDF5: contiguous, in groups."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from typing import Any, Final

import numpy as np

from xmg.cache.hdf5.heap import ATTRIBUTE_RECORDS, LINK_RECORDS, objects
from xmg.cache.hdf5.structures import UNDEFINED, Cursor, MalformedError, Reader

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
_SPACE, _LINKS, _TYPE, _LINK, _EXTERNAL, _LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
_ATTRIBUTE, _CONTINUED, _ATTRIBUTES = 0x0C, 0x10, 0x15
_KNOWN: Final = {
    _SPACE, _LINKS, _TYPE, _LINK, _EXTERNAL, _LAYOUT, _ATTRIBUTE, _ATTRIBUTES,
}  # fmt: skip
_KINDS: Final = {0: "compact", 1: "kept in other files", 2: "chunked or compressed", 3: "virtual"}
_NUMBERS: Final = {
    **{
        (bytes([0, 8 * (kind == "i"), 0, 0, size, 0, 0, 0, 0, 0, 8 * size, 0])): f"<{kind}{size}"
        for kind in "iu"
        for size in (1, 2, 4, 8)
    },
    bytes([1, 0x20, 15, 0, 2, 0, 0, 0, 0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0]): "<f2",
    bytes([1, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0]): "<f4",
}
_MESSAGE: Final = struct.Struct("<BHB")  # type, size, flags
_TEXT: Final = 3
_MOST_CHUNKS: Final = 64  # of one header; ours have one
_MOST_TEXT: Final = (1 << 31) - 1  # the longest 'S' of NumPy

Messages = dict[int, list[bytes]]
Extent = tuple[int, tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Root:
    """The open file and the messages of its root group."""

    reader: Reader
    messages: Messages


def open_root(data: mmap | bytes) -> Root | None:
    """Read the superblock and the root group; None where the file is HDF5 of another version.

    Raises MalformedError where the file is truncated or its first structures are damaged.
    """
    reader = Reader(data)
    if reader.read(0, min(9, reader.size))[:8] != SIGNATURE:
        raise MalformedError("it does not begin like HDF5")
    if reader.size < 48 or data[8] not in (2, 3):
        return None
    block = reader.signed(0, SIGNATURE[:4], 44)
    block.take(5)
    block.expect(8, "the size of offsets")
    block.expect(8, "the size of lengths")
    if block.number(1):
        raise MalformedError("another program opened it for writing and never closed it")
    base, _, end, root = (block.number(8) for _ in range(4))
    if base:
        raise MalformedError("it does not begin at its first byte")
    if end > reader.size:
        raise MalformedError(f"it is truncated to {reader.size:,} of {end:,} bytes")
    return Root(reader, _messages(reader, root))


def attributes(root: Root) -> dict[str, str | int]:
    """Texts and numbers among the root's attributes; those of other types are left out."""
    found: dict[str, str | int] = {}
    raw = list(root.messages.get(_ATTRIBUTE, []))
    for info in root.messages.get(_ATTRIBUTES, []):
        raw += _dense(root.reader, info, 2, ATTRIBUTE_RECORDS)
    for message in raw:
        name, value = _attribute(message)
        if value is not None:
            found[name] = value
    return found


def datasets(root: Root, ours: tuple[str, ...]) -> dict[str, Extent]:
    """Return name -> (byte offset, shape, dtype) of the datasets `ours`, in name order.

    A name that ends in / is a group, all of which is taken. An empty dataset has offset 0.
    Raises MalformedError where one is no contiguous array of text or numbers in this file.
    """
    found: dict[str, Extent] = {}
    for name, address in _links(root.reader, root.messages):
        if name in ours or f"{name}/" in ours:
            _collect(root.reader, name, address, found, 3 * (f"{name}/" in ours))
    return dict(sorted(found.items()))


def _collect(
    reader: Reader, name: str, address: int | None, found: dict[str, Extent], depth: int
) -> None:
    """Add the dataset `name`, or those of a group of at most this depth."""
    if address is None:
        raise MalformedError(f"{name!r} is a link to somewhere else")
    try:
        messages = _messages(reader, address)
    except MalformedError as error:
        raise MalformedError(f"at {name!r}, {error}") from None
    if depth and _LAYOUT not in messages:
        for inner, there in _links(reader, messages):
            _collect(reader, f"{name}/{inner}", there, found, depth - 1)
    else:
        found[name] = _extent(name, messages)


def _messages(reader: Reader, address: int) -> Messages:
    """Messages of an object by type. Raises MalformedError where it is not of version 2."""
    prefix = Cursor(reader.read(address, min(34, max(0, reader.size - address))))
    if prefix.take(4) != b"OHDR":
        raise MalformedError("a header of another version (perhaps chunked or compressed)")
    prefix.expect(2, "the version of a header")
    flags = prefix.number(1)
    prefix.take(16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1))
    size = prefix.number(1 << (flags & 3))
    chunk = reader.signed(address, b"OHDR", prefix.at + size)
    chunk.take(prefix.at - 4)
    found: Messages = {}
    chunks = [chunk]
    for chunk in chunks:  # grows where a message says that the header goes on elsewhere
        for kind, message in _chunk(chunk, 2 * (flags >> 2 & 1)):
            if kind in _KNOWN:
                found.setdefault(kind, []).append(message)
            if kind == _CONTINUED:
                if len(chunks) == _MOST_CHUNKS:
                    raise MalformedError("a header lies in too many places")
                at, size = (Cursor(message, 8 * i).number(8) for i in range(2))
                chunks.append(reader.signed(at, b"OCHK", max(size - 4, 4)))
    return found


def _chunk(chunk: Cursor, extra: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, bytes) of each message in one chunk of a header."""
    data, at, stop = chunk.data, chunk.at, chunk.stop
    while stop - at >= 4 + extra:
        kind, size, flags = _MESSAGE.unpack_from(data, at)
        start, at = at + 4 + extra, at + 4 + extra + size
        if at > stop:
            raise MalformedError("a message ends too early")
        if flags & 2 and kind in (_TYPE, _SPACE):
            raise MalformedError("a type is kept outside its dataset")
        yield kind, data[start:at]


def _links(reader: Reader, messages: Messages) -> Iterator[tuple[str, int | None]]:
    """Yield (name, address) of each link of a group; None for links that are not hard."""
    if _LINKS not in messages:
        raise MalformedError("a group is missing, or of another version")
    yield from map(_link, messages.get(_LINK, []))
    for info in messages[_LINKS]:
        yield from map(_link, _dense(reader, info, 8, LINK_RECORDS))


def _dense(reader: Reader, info: bytes, order_size: int, kind: int) -> Iterator[bytes]:
    """Yield the messages in the heap that an info message points at, if it does."""
    cursor = Cursor(info)
    cursor.expect(0, "the version of a list")
    cursor.take(order_size * (cursor.number(1) & 1))
    heap, tree = cursor.number(8), cursor.number(8)
    if heap != UNDEFINED:
        yield from objects(reader, heap, tree, kind)


def _link(message: bytes) -> tuple[str, int | None]:
    cursor = Cursor(message)
    cursor.expect(1, "the version of a link")
    flags = cursor.number(1)
    kind = cursor.number(1) if flags & 8 else 0
    cursor.take(8 * (flags >> 2 & 1) + (flags >> 4 & 1))
    name = cursor.take(cursor.number(1 << (flags & 3))).decode()
    if "/" in name or "\0" in name:
        raise MalformedError(f"a link has the name {name!r}")
    return name, None if kind else cursor.number(8)


def _attribute(message: bytes) -> tuple[str, str | int | None]:
    """Name and value; None where it is no single text of fixed length and no single number."""
    cursor = Cursor(message)
    version, _ = cursor.number(1), cursor.number(1)
    sizes = [cursor.number(2) for _ in range(3)]
    cursor.take(1 if version == 3 else 0)
    unit = 8 if version == 1 else 1
    name, kind, space = (cursor.take(-(-size // unit) * unit)[:size] for size in sizes)
    text = name.rstrip(b"\0").decode()
    try:
        dtype, shape = _dtype(kind), _shape(space)
    except MalformedError:
        return text, None
    if math.prod(shape) != 1:
        return text, None
    value = cursor.take(dtype.itemsize)
    if dtype.kind == "S":
        return text, value.rstrip(b"\0").decode()
    number: int | float = np.frombuffer(value, dtype).item()
    return text, number if isinstance(number, int) else None


def _extent(name: str, messages: Messages) -> Extent:
    try:
        space, kind, where = (messages[m][0] for m in (_SPACE, _TYPE, _LAYOUT))
    except KeyError:
        raise MalformedError(f"{name!r} is no dataset") from None
    shape, dtype, cursor = _shape(space), _dtype(kind), Cursor(where)
    version, layout = cursor.number(1), cursor.number(1)
    if version not in (3, 4) or layout != 1 or _EXTERNAL in messages:
        raise MalformedError(f"dataset {name!r} is {_KINDS.get(layout, 'laid out otherwise')}")
    offset, size = cursor.number(8), cursor.number(8)
    if math.prod(shape) and (offset == UNDEFINED or size != dtype.itemsize * math.prod(shape)):
        raise MalformedError(f"dataset {name!r} is not as long as it says")
    return (offset if math.prod(shape) else 0), shape, dtype


def _shape(message: bytes) -> tuple[int, ...]:
    cursor = Cursor(message)
    version, rank, flags = (cursor.number(1) for _ in range(3))
    if version not in (1, 2) or rank > 2 or flags & 2:
        raise MalformedError(f"a dataset has {rank} dimensions in a space of version {version}")
    if version == 2 and cursor.number(1) > 1:
        raise MalformedError("a dataset has no shape")
    cursor.take(5 if version == 1 else 0)
    return tuple(cursor.number(8) for _ in range(rank))


def _dtype(message: bytes) -> np.dtype[Any]:
    """Text of fixed length, or a number of format 1; raises MalformedError for all others."""
    kind = bytes([message[0] & 15]) + message[1:] if message else b""
    if kind[:1] == bytes([_TEXT]):
        cursor = Cursor(kind, 4)
        size = cursor.number(4)
        if not 0 < size <= _MOST_TEXT:
            raise MalformedError(f"a text is {size} bytes long")
        return np.dtype(f"S{size}")
    for encoded, name in _NUMBERS.items():
        if kind.startswith(encoded):
            return np.dtype(name)
    raise MalformedError("a dataset has values of a type that no feature file has")
