"""Floating-point mode and threads of the numerical loops; both are put back afterwards."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from threading import Lock
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block.

    Adam's second moments underflow into them once a task is learned, and x86 then takes some
    hundred cycles for each: adaptation is 3-5 times slower without this.
    """
    before = bool(torch.tensor(1e-40) == 0)  # torch does not tell
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let each product of NumPy and SciPy take one thread inside the block.

    Those of few labels are too small to share: threads spin while they wait for each other, which
    costs nothing but electricity on an idle machine and four fifths of the time on a busy one.
    Callers may overlap: the limit is the process's, and the last to leave lifts it.
    """
    _one_each.enter()
    try:
        yield
    finally:
        _one_each.leave()


@contextmanager
def one_thread_each(n_tasks: int) -> Iterator[Each]:
    """Give a `map` that runs up to n_tasks calls side by side, each on a thread of its own.

    As many as torch has threads, the caller's among them; inside the block none of its operations
    takes more than one, since small products lose more by sharing than they gain, and all flush
    denormals. Calls are taken in their order. Callers may overlap.
    """
    n_threads = min(n_tasks, _alone.enter())
    try:
        with flushed_denormals():
            if n_threads == 1:
                yield map
                return
            flush = torch.set_flush_denormal  # a mode of each thread
            with ThreadPoolExecutor(n_threads - 1, "xmg-task", flush, (True,)) as others:
                yield partial(_shared, others, n_threads)
    finally:
        _alone.leave()


def _shared(
    others: Executor, n_threads: int, call: Callable[[T], R], items: Iterable[T]
) -> list[R]:
    """What `map` gives. Each thread, this one too, takes the next item until none is left: one that
    only waited would be woken by each result, in the place of a thread at work.

    Of several errors it raises the one of the first item, as `map` does, but an interrupt before
    any.
    """
    items = list(items)
    places = iter(range(len(items)))  # all threads take the next of this
    found: dict[int, R] = {}
    failed: dict[int, BaseException] = {}

    def work() -> None:
        for place in places:
            if failed:
                return
            try:
                found[place] = call(items[place])
            except BaseException as error:
                failed[place] = error

    working = [others.submit(work) for _ in range(min(n_threads, len(items)) - 1)]
    try:
        work()
        wait([future for future in working if not future.cancel()])
    finally:  # an interrupt may have come between two calls
        list(places)
    if failed:
        first = min(failed, key=lambda place: (isinstance(failed[place], Exception), place))
        try:
            raise failed[first]
        finally:
            failed.clear()  # or the error would hold itself
    return [found[place] for place in range(len(items))]


class _Alone:
    """Callers that want torch on one thread; it counts threads anew in each thread that calls it,
    and one that is started meanwhile would take their 1 for what it had before."""

    def __init__(self) -> None:
        self._lock, self._n_inside, self._n_threads = Lock(), 0, 1

    def enter(self) -> int:
        """Returns how many threads torch had before anyone was here."""
        with self._lock:
            if not self._n_inside:
                self._n_threads = torch.get_num_threads()
            self._n_inside += 1
            torch.set_num_threads(1)
            return self._n_threads

    def leave(self) -> None:
        """Give the caller its threads back."""
        with self._lock:
            self._n_inside -= 1
            torch.set_num_threads(self._n_threads)


class _OneEach:
    """Callers that want BLAS on one thread; one that came meanwhile and left last would otherwise
    leave it the 1 that it found."""

    def __init__(self) -> None:
        self._lock, self._n_inside, self._limits = Lock(), 0, ExitStack()

    def enter(self) -> None:
        """Limit it, unless somebody has."""
        with self._lock:
            if not self._n_inside:
                self._limits.enter_context(threadpool_limits(1, "blas"))
            self._n_inside += 1

    def leave(self) -> None:
        """Give it its threads back when nobody is left."""
        with self._lock:
            self._n_inside -= 1
            if not self._n_inside:
                self._limits.close()


_alone, _one_each = _Alone(), _OneEach()


def _forked() -> None:
    """Have torch work on the one thread that a forked child has: it would wait for ever for those
    of its parent. Callers who were inside stayed there."""
    global _alone, _one_each
    torch.set_num_threads(1)
    _alone, _one_each = _Alone(), _OneEach()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
