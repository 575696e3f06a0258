"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit


def forget_stale(folder: Path, compiled: Path) -> None:
    """Remove what Numba compiled of other sources than those that the folder holds now.

    It looks at the source of the function itself alone: one that calls another of an older layout
    would read and write beside its arrays. compiled: where it keeps this folder's kernels; what
    they were made of stands there in sources.sha256.
    """
    sources = sorted(folder.glob("*.py"))
    digest = sha256(b"".join(source.read_bytes() for source in sources)).hexdigest().encode()
    stamp = compiled / "sources.sha256"
    with suppress(OSError):  # nothing was compiled yet, or nothing can be removed here
        if stamp.exists() and stamp.read_bytes() == digest:
            return
        for index in compiled.glob("*.nbi"):
            index.unlink(missing_ok=True)
        stamp.write_bytes(digest)


def kept_in() -> Path | None:
    """Where Numba keeps the kernels of this folder: beside them, in NUMBA_CACHE_DIR, or with the
    user's files. None where it compiles nothing."""
    here: Any = njit(cache=True)(forget_stale)  # of which nothing is compiled
    return Path(here.stats.cache_path) if hasattr(here, "stats") else None


_compiled = kept_in()
if _compiled:
    forget_stale(Path(__file__).parent, _compiled)
