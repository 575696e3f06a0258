"""Memory that networks have freed stays with the process, for their next pass."""

import ctypes
import os
import sys
from typing import Final

_TRIM, _MMAP, _ARENAS = -1, -3, -8  # of glibc's malloc.h
_KEPT: Final = 1 << 30  # bytes
_OLD_LIMIT: Final = 1 << 25  # of the second number, before glibc 2.35


def keep_freed_memory() -> None:
    """Have glibc give nothing back to the system that the next pass will want again.

    By itself it returns the large blocks that activations and gradients lie in, one by one, and
    gets them again page by page: a third of EfficientNet-Lite0's time on a CPU. As other threads'
    heaps hold 64 MB at most, all share one. Nothing happens where there is another C library, or
    where the environment says what malloc shall do. To be called before threads are there.
    """
    told = any(name.startswith("MALLOC_") for name in os.environ)
    if told or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return
    mallopt(_ARENAS, 1)
    mallopt(_TRIM, _KEPT)
    if not mallopt(_MMAP, _KEPT):
        mallopt(_MMAP, _OLD_LIMIT)
