"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numba
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
    """Where Numba keeps the kernels of this folder; None where it compiles nothing."""
    with _kept_by_user():
        here: Any = njit(cache=True)(forget_stale)  # of which nothing is compiled
    return Path(here.stats.cache_path) if hasattr(here, "stats") else None


@contextmanager
def _kept_by_user() -> Iterator[None]:
    """Have Numba keep with the user's files what is decorated meanwhile, unless NUMBA_CACHE_DIR is
    set or nobody can write there. Beside the sources it would outlive them: a folder `xmg` left in
    site-packages hides what is next installed from a clone.
    """
    settings = vars(numba.config)
    before = settings["CACHE_DIR"]
    with suppress(RuntimeError):  # a user without a home
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        settings["CACHE_DIR"] = before or str(Path(cache, "xmg", "kernels"))
    try:
        yield
    finally:
        settings["CACHE_DIR"] = before


_folder, _compiled = Path(__file__).parent, kept_in()
if _compiled:
    forget_stale(_folder, _compiled)
with _kept_by_user():
    for _source in sorted(_folder.glob("[!_]*.py")):
        import_module(f"{__name__}.{_source.stem}")
