"""Read bytes of an HDF5 file that may be damaged, or made to do harm.

The HDF5 library itself ends the process on some damaged files, and asks for exabytes of memory on
others, so feature files are opened without it. `file` reads what format 1 needs of the
specification (https://support.hdfgroup.org/documentation/hdf5/latest/_s_p_e_c.html), no more.
"""

import struct
from mmap import mmap
from typing import Final

UNDEFINED: Final = (1 << 64) - 1  # an address that leads nowhere
MOST_BYTES: Final = 1 << 23  # of structures in one file; ours have about 300 bytes a dataset
_MOST_AT_ONCE: Final = 1 << 20  # of one structure; ours have up to 64 KiB
_LOOK: Final = 64  # bytes of work that even an empty structure is
_WORD: Final = 0xFFFFFFFF


class MalformedError(ValueError):
    """Bytes that no feature file has; the message says which, for one sentence with the path."""


class Cursor:
    """Numbers, little-endian, and bytes from `at` to `stop`; going further is MalformedError."""

    def __init__(self, data: bytes, at: int = 0, stop: int | None = None) -> None:
        self.data, self.at = data, at
        self.stop = len(data) if stop is None else stop

    def take(self, n: int) -> bytes:
        """Return the next n bytes."""
        start, self.at = self.at, self.at + n
        if self.at > self.stop:
            raise MalformedError("a structure ends too early")
        return self.data[start : self.at]

    def number(self, n: int) -> int:
        """Return the next n bytes as a number."""
        return int.from_bytes(self.take(n), "little")

    def expect(self, value: int, what: str) -> None:
        """Pass over one byte that must have this value."""
        found = self.number(1)
        if found != value:
            raise MalformedError(f"{what} is {found}, not {value}")


class Reader:
    """Structures of a file, each with its checksum; MOST_BYTES in all, so that loops end."""

    def __init__(self, data: mmap | bytes) -> None:
        self._data, self._left = data, MOST_BYTES

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self._data)

    def read(self, at: int, size: int) -> bytes:
        """Copy `size` bytes; raises MalformedError where they go beyond the file or MOST_BYTES."""
        if at + size > self.size:
            raise MalformedError("it is truncated, or a structure lies outside it")
        self.spend(size)
        return self._data[at : at + size]

    def spend(self, size: int) -> None:
        """Count one more look at `size` bytes; raises MalformedError beyond MOST_BYTES."""
        self._left -= size + _LOOK
        if self._left < 0 or size > _MOST_AT_ONCE:
            raise MalformedError("its structures are larger than those of any feature file")

    def signed(self, at: int, signature: bytes, size: int) -> Cursor:
        """Read a structure of `size` bytes with a checksum behind it; the cursor is at `at` + 4."""
        data = self.read(at, size + 4)
        if data[:4] != signature:
            raise MalformedError(
                f"no structure {signature.decode('latin-1')!r} where one should be"
            )
        check(memoryview(data)[:-4], data[-4:])
        return Cursor(data, 4, size)


def check(data: bytes | memoryview, checksum: bytes) -> None:
    """Raise MalformedError where bytes differ from their checksum."""
    if lookup3(data) != int.from_bytes(checksum, "little"):
        raise MalformedError("the checksum of a structure is wrong")


def lookup3(data: bytes | memoryview) -> int:
    """Jenkins' hash of 32 bits (https://burtleburtle.net/bob/c/lookup3.c), which HDF5 uses."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    last = max(len(data) - 1, 0) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", data[:last]):
        a, b, c = (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD
        a, c = (a - c ^ (c << 4 | c >> 28)) & _WORD, (c + b) & _WORD
        b, a = (b - a ^ (a << 6 | a >> 26)) & _WORD, (a + c) & _WORD
        c, b = (c - b ^ (b << 8 | b >> 24)) & _WORD, (b + a) & _WORD
        a, c = (a - c ^ (c << 16 | c >> 16)) & _WORD, (c + b) & _WORD
        b, a = (b - a ^ (a << 19 | a >> 13)) & _WORD, (a + c) & _WORD
        c, b = (c - b ^ (b << 4 | b >> 28)) & _WORD, (b + a) & _WORD
    if len(data):
        x, y, z = struct.unpack("<III", bytes(data[last:]).ljust(12, b"\0"))
        a, b, c = (a + x) & _WORD, (b + y) & _WORD, (c + z) & _WORD
        for k in (14, 11, 25, 16, 4, 14, 24):
            a, b, c = b, ((c ^ b) - (b << k | b >> (32 - k))) & _WORD, a
        c = b
    return c
