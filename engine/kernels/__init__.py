"""Compiled loops over arrays. Each has a slow twin in tests/naive.py."""

import atexit
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numba
from numba import njit

from xmg.cache.errors import XmgError


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
    """Where Numba keeps the kernels of this folder, or would if anybody could write there; None
    where it compiles nothing."""
    with _kept_by_user():
        try:
            return _place()
        except RuntimeError:
            return Path(vars(numba.config)["CACHE_DIR"] or _folder)


def _place() -> Path | None:
    """Where Numba as it is set keeps kernels. Raises RuntimeError where nobody can write, or the
    disk is full; so too for a user without a home, who would get a folder called ~, where they are
    at the moment."""
    anywhere = vars(numba.config)["CACHE_DIR"] or os.access(_folder, os.W_OK)
    if not anywhere and os.path.expanduser("~") == "~":  # noqa: PTH111  (Path refuses it)
        raise RuntimeError("no home")
    here: Any = njit(cache=True)(forget_stale)  # of which nothing is compiled
    place = Path(here.stats.cache_path) if hasattr(here, "stats") else None
    if place and _is_full(place):
        raise RuntimeError("no room")
    return place


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


def _is_full(place: Path) -> bool:
    """Whether nothing was compiled there, and no room is left to keep it: Numba would fail amidst
    a command. What is compiled already can be read from a full disk."""
    if any(place.glob("*.nbi")):
        return False
    folder = next(filter(Path.exists, (place, *place.parents)))
    return shutil.disk_usage(folder).free < _ROOM


def _passing_folder() -> str:
    """One that goes with this process."""
    folder = f"xmg-kernels-{os.getpid()}-"
    try:
        return _stack.enter_context(TemporaryDirectory(prefix=folder, ignore_cleanup_errors=True))
    except OSError as error:
        raise XmgError(
            f"compiled kernels can be kept nowhere, nor in a temporary folder: {error.strerror}. "
            "fix: export NUMBA_CACHE_DIR=FOLDER, one that you may write to"
        ) from error


_ROOM = 1 << 24  # bytes, more than twice what all kernels take
_folder, _stack = Path(__file__).parent, ExitStack()
atexit.register(_stack.close)
with _kept_by_user():
    try:
        if _compiled := _place():
            forget_stale(_folder, _compiled)
    except RuntimeError:  # Numba too would give up where nobody can write
        vars(numba.config)["CACHE_DIR"] = _passing_folder()
    for _source in sorted(_folder.glob("[!_]*.py")):
        import_module(f"{__name__}.{_source.stem}")
