"""Floating-point mode of the numerical loops."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block.

    Adam's second moments underflow into them once a task is learned, and x86 then takes some
    hundred cycles for each: adaptation is 3-5 times slower without this.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
