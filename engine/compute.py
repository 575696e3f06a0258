"""Floating-point mode and threads of the numerical loops; both are put back afterwards."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


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


@contextmanager
def one_thread_each(n_tasks: int) -> Iterator[Each]:
    """Give a `map` that runs up to n_tasks calls side by side, each on a thread of its own.

    As many as torch has threads; inside the block none of its operations takes more than one,
    since small products lose more by sharing than they gain.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if min(n_tasks, n_threads) == 1:
            yield map
            return
        flush = torch.set_flush_denormal  # a mode of each thread
        with ThreadPoolExecutor(min(n_tasks, n_threads), "xmg-task", flush, (True,)) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(n_threads)
