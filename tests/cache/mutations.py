"""Damage to feature files: each number names one mutation, for ever the same.

Half of the mutations inside HDF5's own structures are made good again: their checksums (Jenkins'
lookup3) are computed anew, so that HDF5 believes what it reads.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Structure:
    """`size` bytes from `at` whose checksum stands at `sum_at`, inside or right behind them."""

    at: int
    size: int
    sum_at: int

    def sum(self, content: bytes) -> int:
        whole = bytearray(content[self.at : self.at + self.size])
        if self.sum_at < self.at + self.size:
            whole[self.sum_at - self.at : self.sum_at - self.at + 4] = bytes(4)
        return lookup3(whole)


Mutation = Callable[[np.random.Generator, bytearray, Sequence[Structure], bytes], bytearray]

_SIGNED = re.compile(rb"OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|FSHD|FSSE")
_WORD = 0xFFFFFFFF
_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 31, _WORD, 1 << 40, 1 << 63,
            (1 << 64) - 1, (1 << 64) - 2, 4096, 12288)  # fmt: skip


def lookup3(data: bytes) -> int:
    """Jenkins' hash of 32 bits, as HDF5 uses it for its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    words = np.frombuffer(data + bytes(-len(data) % 12), "<u4").tolist()
    for i in range(0, len(words) - 3, 3):
        a, b, c = (a + words[i]) & _WORD, (b + words[i + 1]) & _WORD, (c + words[i + 2]) & _WORD
        a = (a - c) & _WORD ^ _turn(c, 4)
        c = (c + b) & _WORD
        b = (b - a) & _WORD ^ _turn(a, 6)
        a = (a + c) & _WORD
        c = (c - b) & _WORD ^ _turn(b, 8)
        b = (b + a) & _WORD
        a = (a - c) & _WORD ^ _turn(c, 16)
        c = (c + b) & _WORD
        b = (b - a) & _WORD ^ _turn(a, 19)
        a = (a + c) & _WORD
        c = (c - b) & _WORD ^ _turn(b, 4)
        b = (b + a) & _WORD
    if not words:
        return c
    a, b, c = (a + words[-3]) & _WORD, (b + words[-2]) & _WORD, (c + words[-1]) & _WORD
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turn(b, turn)) & _WORD
        a, b, c = b, c, a  # each step mixes the next of the three
    return b  # after seven steps, the one that was mixed last


def _turn(x: int, k: int) -> int:
    return (x << k | x >> (32 - k)) & _WORD


def structures(content: bytes) -> list[Structure]:
    """Every structure of HDF5 that has a checksum, told by that checksum."""
    found = [Structure(0, 44, 44)]
    for match in _SIGNED.finditer(content):
        at = match.start()
        blocks = [Structure(at, size, at + 13 + n) for size in (512, 1024, 2048) for n in (4, 5)]
        others = (Structure(at, size, at + size) for size in range(12, 480))
        for structure in blocks if match[0] == b"FHDB" else others:
            if structure.sum(content) == _u4(content, structure.sum_at):
                found.append(structure)
                break
    return found


def _u4(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 4], "little")


def mend(content: bytearray, original: bytes, signed: Sequence[Structure]) -> None:
    """Make the checksum of each structure that was changed right again."""
    for structure in signed:
        place = slice(structure.at, max(structure.sum_at, structure.at + structure.size) + 4)
        if structure.sum_at + 4 <= len(content) and content[place] != original[place]:
            found = structure.sum(content).to_bytes(4, "little")
            content[structure.sum_at : structure.sum_at + 4] = found


def mutated(files: Sequence[bytes], signed: Sequence[Sequence[Structure]], seed: int) -> bytes:
    """Mutation number `seed` of one of the files."""
    rng = np.random.default_rng(seed)
    which = int(rng.integers(len(files)))
    content = bytearray(files[which])
    kind = MUTATIONS[seed % len(MUTATIONS)]
    for _ in range(int(rng.choice([1, 1, 1, 2, 5]))):
        content = kind(rng, content, signed[which], files[which - 1])
        if len(content) < 4096:
            break
    if rng.random() < 0.7:
        mend(content, files[which], signed[which])
    return bytes(content)


def _place(rng: np.random.Generator, content: bytes, signed: Sequence[Structure]) -> int:
    """A byte, nearly always one that means something."""
    if rng.random() < 0.1:
        return int(rng.integers(len(content)))
    structure = signed[rng.integers(len(signed))]
    return min(structure.at + int(rng.integers(structure.size + 4)), len(content) - 1)


def bits(rng, content, signed, other):
    content[_place(rng, content, signed)] ^= 1 << int(rng.integers(8))
    return content


def some_bytes(rng, content, signed, other):
    content[_place(rng, content, signed)] = int(rng.integers(256))
    return content


def numbers(rng, content, signed, other):
    width = int(rng.choice([1, 2, 4, 8]))
    at = _place(rng, content, signed)
    number = _NUMBERS_OF[width][rng.integers(len(_NUMBERS_OF[width]))]
    content[at : at + width] = number.to_bytes(width, "little")
    return content[: max(len(content), at)]


def nudges(rng, content, signed, other):
    at = _place(rng, content, signed)
    content[at] = (content[at] + int(rng.choice([-1, 1, 8, -8]))) % 256
    return content


def addresses(rng, content, signed, other):
    """Have one structure point at another, or to itself."""
    structure = signed[rng.integers(len(signed))]
    whole = bytes(content[structure.at : structure.at + structure.size])
    found = [m.start() for m in _ADDRESS.finditer(whole)]
    if found:
        at = structure.at + int(rng.choice(found))
        to = signed[rng.integers(len(signed))].at + int(rng.choice([0, 0, 0, 1, 16]))
        content[at : at + 8] = to.to_bytes(8, "little")
    return content


def truncations(rng, content, signed, other):
    at = int(rng.choice([_place(rng, content, signed), 4096 * rng.integers(len(content) // 4096)]))
    return content[: max(0, at + int(rng.integers(-1, 2)))]


def insertions(rng, content, signed, other):
    at, n = _place(rng, content, signed), int(rng.choice([1, 2, 3, 8, 100, 4096]))
    content[at:at] = rng.bytes(n)
    return content


def deletions(rng, content, signed, other):
    at, n = _place(rng, content, signed), int(rng.choice([1, 2, 3, 8, 100, 4096]))
    del content[at : at + n]
    return content


def swaps(rng, content, signed, other):
    n = int(rng.choice([4, 8, 64, 512, 4096]))
    a, b = (_place(rng, content, signed) // n * n for _ in range(2))
    if max(a, b) + n <= len(content):
        content[a : a + n], content[b : b + n] = content[b : b + n], content[a : a + n]
    return content


def copies(rng, content, signed, other):
    """Put one structure where another was."""
    source, to = signed[rng.integers(len(signed))], signed[rng.integers(len(signed))]
    n = min(source.size, to.size)
    content[to.at : to.at + n] = content[source.at : source.at + n]
    return content


def shuffles(rng, content, signed, other):
    """Move bytes about inside one structure."""
    structure = signed[rng.integers(len(signed))]
    n = int(rng.integers(1, 40))
    a, b = (structure.at + int(rng.integers(structure.size)) for _ in range(2))
    content[b : b + n] = content[a : a + n]
    return content


def pages(rng, content, signed, other):
    at = _place(rng, content, signed) // 4096 * 4096
    fill = int(rng.choice([0, 0, 0xFF, 0x41]))
    content[at : at + 4096] = bytes([fill]) * len(content[at : at + 4096])
    return content


def splices(rng, content, signed, other):
    at = _place(rng, content, signed) // int(rng.choice([1, 4096]))
    if rng.random() < 0.5:
        return content[:at] + bytearray(other[at:])
    n = int(rng.choice([4, 64, 264, 4096, 65536]))
    content[at : at + n] = other[at : at + n]
    return content


MUTATIONS = (
    bits, some_bytes, numbers, nudges, addresses, truncations, insertions, deletions, swaps, copies,
    shuffles, pages, splices,
)  # fmt: skip
_NUMBERS_OF = {w: [n for n in _NUMBERS if n < 1 << (8 * w)] for w in (1, 2, 4, 8)}
_ADDRESS = re.compile(rb"\x00[\x00-\xf0][\x00-\x04]\x00{5}")
