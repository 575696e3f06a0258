"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""

from contextlib import suppress
from pathlib import Path


def forget_stale(folder: Path) -> None:
    """Remove what Numba compiled beside the sources before one of them last changed.

    It looks at the source of the function itself alone: one that calls another of an older layout
    would read and write beside its arrays. What lies in NUMBA_CACHE_DIR is not looked for.
    """
    newest = max((source.stat().st_mtime_ns for source in folder.glob("*.py")), default=0)
    for index in (folder / "__pycache__").glob("*.nbi"):
        with suppress(OSError):  # another process was first, or nothing can be removed here
            if index.stat().st_mtime_ns < newest:
                index.unlink()


forget_stale(Path(__file__).parent)
