"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""

from contextlib import suppress
from pathlib import Path


def forget_stale(folder: Path) -> None:
    """Remove what Numba compiled before a source in the folder last changed.

    It looks at the source of the function itself alone: one that calls another of an older layout
    would read and write beside its arrays. Where files cannot be removed, nothing can have changed.
    """
    with suppress(OSError):
        newest = max((source.stat().st_mtime_ns for source in folder.glob("*.py")), default=0)
        for index in (folder / "__pycache__").glob("*.nbi"):
            if index.stat().st_mtime_ns < newest:
                index.unlink()


forget_stale(Path(__file__).parent)
