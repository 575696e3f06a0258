"""Layout "folder": one folder per class, files anywhere inside it."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from xmg.cache import XmgError
from xmg.extract.sources.published import PUBLISHED
from xmg.extract.sources.samples import SUFFIXES, Samples, printable
from xmg.extract.types import Modality, Source

_SPLITS = frozenset(("dev", "eval", "test", "train", "training", "val", "valid", "validation"))


def open_folder(root: Path, modality: Modality) -> Source:
    """List the files of `modality` under `root`, sorted by id.

    The id is the POSIX path relative to `root`, the label its first folder; a file right under
    `root` is unlabelled. Hidden files and folders are skipped, links are followed but never
    round a loop. Raises XmgError where no file fits, or where the folders are splits.
    """
    files = sorted(relative_files(root, modality))
    if not files:
        raise XmgError(
            f"{root} holds no {modality} files ({', '.join(sorted(SUFFIXES[modality]))}) in "
            f"folders, one for each class. fix: check the path and --encoder, or choose --layout: "
            f"the others are a manifest (.csv, .tsv, .jsonl), {', '.join(PUBLISHED)}"
        )
    labels = [_label(name) for name in files]
    classes = set(labels) - {None}
    if classes and classes <= _SPLITS:
        split = min(filter(None, classes))
        raise XmgError(
            f"the folders of {root} are splits ({', '.join(sorted(filter(None, classes)))}), "
            f"not classes. fix: give one of them, such as {root / split}"
        )
    ids = [printable(name) for name in files]
    return Source(root.resolve().name, Samples(ids, labels, partial(_path, str(root), files)))


def check_open(folder: Path) -> None:
    """Raise XmgError for what is no folder, or one that cannot be listed or looked into."""
    if not folder.is_dir():  # a pipe, a socket, a device
        raise XmgError(f"{folder} is neither file nor folder. fix: give a folder or a manifest")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise XmgError(f"cannot list {folder}: Permission denied. fix: check its permissions")


def relative_files(root: Path, modality: Modality) -> Iterator[str]:
    """Yield the POSIX path, relative to `root`, of each file with a suffix of `modality`.

    Each class folder is walked by itself: two classes may link to one folder.
    """
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    for name, is_folder in _entries(str(root)):
        if is_folder:
            yield from _walk(f"{root}/{name}", name, modality, set(above))
        elif _fits(name, modality):
            yield name


def _walk(
    folder: str, relative: str, modality: Modality, seen: set[tuple[int, int]]
) -> Iterator[str]:
    """Depth first with our own stack: neither deep trees nor link loops can exhaust us."""
    stack = [(folder, relative)]
    while stack:
        path, prefix = stack.pop()
        identity = _identity(path)
        if identity in seen:
            continue
        seen.add(identity)
        for name, is_folder in _entries(path):
            if is_folder:
                stack.append((f"{path}/{name}", f"{prefix}/{name}"))
            elif _fits(name, modality):
                yield f"{prefix}/{name}"


def _entries(folder: str) -> list[tuple[str, bool]]:
    """Return (name, is a folder) of what is not hidden, sorted: the walk must not vary."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e.name, is_folder(e)) for e in entries if not e.name.startswith("."))
    except OSError as error:
        raise XmgError(
            f"cannot list {folder}: {error.strerror or error}. fix: check its permissions, or move "
            "it out of the data"
        ) from error


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that only leads to itself
        return False


def _identity(folder: str | Path) -> tuple[int, int]:
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _fits(name: str, modality: Modality) -> bool:
    _, dot, suffix = name.rpartition(".")
    return dot + suffix.lower() in SUFFIXES[modality]


def _label(name: str) -> str | None:
    return printable(name.split("/", 1)[0]) if "/" in name else None


def _path(root: str, files: list[str], row: int) -> Path:
    return Path(root, files[row])
