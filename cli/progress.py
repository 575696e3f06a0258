"""Progress in three forms: a live bar, plain lines where nothing can move, events for machines."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.console import Console

from xmg.cli.escaping import shown
from xmg.cli.events import Events

Update = Callable[..., None]  # update(done, total, note="")
_SECONDS: Final = 5.0
_PARTS: Final = 10


@contextmanager
def bar(title: str, console: Console) -> Iterator[Update]:
    """A bar that moves, on a terminal that can move its cursor."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(shown(title), total=None, note="", visible=False)

        def update(done: int, total: int, note: object = "") -> None:
            progress.update(task, completed=done, total=total, note=in_words(note), visible=True)

        yield update


@contextmanager
def lines(title: str, tell: Callable[[str], None]) -> Iterator[Update]:
    """A plain line at every tenth, and every five seconds where a tenth takes longer."""
    due, left = _clock(), _remaining()

    def update(done: int, total: int, note: object = "") -> None:
        seconds = left(done, total)
        if due(done, total):
            parts = [f"{title}: {done:,} of {total:,} ({_share(done, total):.0%})"]
            parts += [f"about {_duration(seconds)} left"] if seconds else []
            tell(", ".join([*parts, *filter(None, [in_words(note)])]))

    yield update


@contextmanager
def events(title: str, log: Events) -> Iterator[Update]:
    """An event as often as a plain line."""
    due = _clock()

    def update(done: int, total: int, note: object = "") -> None:
        if due(done, total):
            log.emit("progress", in_words(note) or None, task=title, done=done, total=total)

    yield update


def in_words(note: object) -> str:
    """A float is the best accuracy of meta-validation."""
    return f"validation {note:.1%}" if isinstance(note, float) else shown(str(note))


def _duration(seconds: float) -> str:
    """Such as `1:02:03`, or `999999999 days`: a timedelta holds no more."""
    if seconds >= timedelta.max.total_seconds():
        return f"{timedelta.max.days} days"
    return str(timedelta(seconds=round(seconds)))


def _share(done: int, total: int) -> float:
    return done / total if total else 1.0


def _clock() -> Callable[[int, int], bool]:
    """Return due(done, total): whether a tenth, or five seconds, passed since it last was."""
    told, when = -1, 0.0

    def due(done: int, total: int) -> bool:
        nonlocal told, when
        part, now = int(_PARTS * _share(done, total)), time.monotonic()
        if part == told and now < when + _SECONDS:
            return False
        told, when = part, now
        return True

    return due


def _remaining() -> Callable[[int, int], float]:
    """Return left(done, total): seconds to go at the rate since its first call; 0 unknown."""
    first: tuple[int, float] | None = None

    def left(done: int, total: int) -> float:
        nonlocal first
        now = time.monotonic()
        first = first or (done, now)
        gained = done - first[0]
        return (total - done) * (now - first[1]) / gained if gained > 0 else 0.0

    return left
