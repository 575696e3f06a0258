"""Where HDF5 keeps links and attributes once there are more than eight: a heap, and a B-tree."""

from collections.abc import Iterator

from xmg.cache.hdf5.structures import UNDEFINED, Cursor, MalformedError, Reader, check

_MANAGED, _HUGE = 0, 1  # kinds of heap objects
_HUGE_RECORDS, LINK_RECORDS, ATTRIBUTE_RECORDS = 1, 5, 8  # types of B-trees
_MOST_LEVELS = 4  # of a B-tree: beyond MOST_BYTES already


def objects(reader: Reader, heap: int, tree: int, kind: int) -> Iterator[bytes]:
    """Yield every object of a heap that a B-tree lists. Raises MalformedError."""
    found = Heap(reader, heap)
    for record in records(reader, tree, kind):
        at = 4 if kind == LINK_RECORDS else 0  # the hash of a link's name stands first
        yield found.get(record[at : at + found.id_size])


def records(reader: Reader, address: int, kind: int) -> Iterator[bytes]:
    """Yield every record of a B-tree (version 2), in order. Raises MalformedError."""
    header = reader.signed(address, b"BTHD", 34)
    header.expect(0, "the version of a B-tree")
    header.expect(kind, "the type of a B-tree")
    node_size, record_size, depth = (header.number(n) for n in (4, 2, 2))
    header.take(2)
    root, n_records = header.number(8), header.number(2)
    if root == UNDEFINED:
        return
    if depth > _MOST_LEVELS or not 0 < record_size < node_size - 10:
        raise MalformedError("a B-tree has no sense")
    widths = _widths(node_size, record_size, depth)
    yield from _node(reader, root, n_records, kind, record_size, widths)


def _widths(node_size: int, record_size: int, depth: int) -> list[tuple[int, int]]:
    """Bytes of the two numbers beside a pointer to a node of depth 0, 1, ..., depth - 1."""
    most = total = (node_size - 10) // record_size  # records in a leaf, and below a node
    first = _bytes_for(most)
    widths = [(first, 0)][:depth]
    for _ in range(1, depth):
        pointer = 8 + first + widths[-1][1]
        most = (node_size - 10 - pointer) // (record_size + pointer)
        total = (most + 1) * total + most
        widths.append((first, _bytes_for(max(total, 1))))
    return widths


def _node(
    reader: Reader, address: int, n: int, kind: int, record_size: int, widths: list[tuple[int, int]]
) -> Iterator[bytes]:
    """Yield the records of a node and of those below it; a leaf has no widths left."""
    if not widths:
        leaf = reader.signed(address, b"BTLF", 6 + n * record_size)
        leaf.expect(0, "the version of a leaf")
        leaf.expect(kind, "the type of a leaf")
        for _ in range(n):
            yield leaf.take(record_size)
        return
    pointer = 8 + sum(widths[-1])
    node = reader.signed(address, b"BTIN", 6 + n * record_size + (n + 1) * pointer)
    node.expect(0, "the version of a node")
    node.expect(kind, "the type of a node")
    own = [node.take(record_size) for _ in range(n)]
    for i in range(n + 1):
        child, n_records = node.number(8), node.number(widths[-1][0])
        node.take(widths[-1][1])
        yield from _node(reader, child, n_records, kind, record_size, widths[:-1])
        yield from own[i : i + 1]


class Heap:
    """A fractal heap: objects by their id, in blocks of growing size."""

    def __init__(self, reader: Reader, address: int) -> None:
        header = reader.signed(address, b"FRHP", 142)
        header.expect(0, "the version of a heap")
        self.id_size, filters, flags, largest = (header.number(n) for n in (2, 2, 1, 4))
        header.take(8)
        self._reader, self._huge, self._blocks = reader, header.number(8), dict[int, bytes]()
        header.take(80)
        self._width, self._first, direct, bits = (header.number(n) for n in (2, 8, 8, 2))
        header.take(2)
        self._root, self._rows = header.number(8), header.number(2)
        if filters or not 0 < bits <= 64 or not self._first or not direct or not largest:
            raise MalformedError("a heap has no sense")
        self._signed = bool(flags & 2)
        self._offset_size = -(-bits // 8)
        self._length_size = min(_bytes_for(direct), _bytes_for(largest))
        self._direct_rows = direct.bit_length() - self._first.bit_length() + 2

    def get(self, name: bytes) -> bytes:
        """Return the object with this id. Raises MalformedError where it is not in the heap."""
        cursor = Cursor(name)
        kind = cursor.number(1) >> 4
        if kind == _HUGE:
            return self._get_huge(cursor.take(min(8, len(name) - 1)))
        if kind != _MANAGED:
            raise MalformedError("a heap has an object of an unknown kind")
        offset, length = cursor.number(self._offset_size), cursor.number(self._length_size)
        self._reader.spend(length)
        start, block = self._block(offset)
        if offset - start + length > len(block):
            raise MalformedError("an object lies outside its heap")
        return block[offset - start : offset - start + length]

    def _get_huge(self, key: bytes) -> bytes:
        for record in records(self._reader, self._huge, _HUGE_RECORDS):
            cursor = Cursor(record)
            address, length = cursor.number(8), cursor.number(8)
            if cursor.number(8) == int.from_bytes(key, "little"):
                return self._reader.read(address, length)
        raise MalformedError("an object is not in its heap")

    def _block(self, offset: int) -> tuple[int, bytes]:
        """Return where in the heap the block around `offset` begins, and the block."""
        if not self._rows:
            return 0, self._direct(self._root, self._first)
        per_row, row = self._width * self._first, 0
        start, size = 0, self._first
        while offset >= start + per_row and row < self._direct_rows:
            start, row = start + per_row, row + 1
            size = self._first << max(row - 1, 0)
            per_row = self._width * size
        if row >= min(self._rows, self._direct_rows):
            raise MalformedError("an object lies outside its heap")
        column = (offset - start) // size
        address = self._child(row * self._width + column)
        return start + column * size, self._direct(address, size)

    def _child(self, i: int) -> int:
        """Address of block i of the root."""
        head = 13 + self._offset_size
        n_direct = min(self._rows, self._direct_rows) * self._width
        n_indirect = max(self._rows - self._direct_rows, 0) * self._width
        root = self._reader.signed(self._root, b"FHIB", head + 8 * (n_direct + n_indirect))
        root.take(head - 4 + 8 * i)
        return root.number(8)

    def _direct(self, address: int, size: int) -> bytes:
        """Read a block of objects, once."""
        if address not in self._blocks:
            block = self._reader.read(address, size)
            at = 13 + self._offset_size  # behind signature, version, heap and offset
            if block[:4] != b"FHDB":
                raise MalformedError("a heap lacks a block")
            if self._signed:
                zeroed = block[:at] + bytes(4) + block[at + 4 :]
                check(zeroed, block[at : at + 4])
            self._blocks[address] = block
        return self._blocks[address]


def _bytes_for(most: int) -> int:
    """Bytes of a number up to `most`."""
    return (most.bit_length() - 1) // 8 + 1
