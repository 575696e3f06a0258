"""A listing that makes each Sample when it is asked for: a million inputs stay three lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

from xmg.extract.types import Content, Modality, Sample

SUFFIXES: dict[Modality, frozenset[str]] = {
    "image": frozenset(
        (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
    ),
    "text": frozenset((".txt",)),
    "audio": frozenset((".aif", ".aiff", ".au", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")),
}


@dataclass(frozen=True, slots=True)
class Samples(Sequence[Sample]):
    """Sample i has ids[i], labels[i] and content(i), which is only made when indexed."""

    ids: Sequence[str]
    labels: Sequence[str | None]
    content: Callable[[int], Content]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Return one Sample, or a list of them. Raises IndexError past the end."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return Sample(self.ids[row], self.content(row), self.labels[row])


def printable(name: str) -> str:
    """Return a file name as valid UTF-8: bytes that are not become backslash escapes."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
