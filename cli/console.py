"""What commands share: progress bars on stderr, results on stdout."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

RANK: Final = int(os.environ.get("RANK", "0"))  # of the processes that torchrun starts
hints = Console(stderr=True, highlight=False, soft_wrap=True, quiet=RANK > 0)


def say(result: str) -> None:
    """Print a result, once however many processes share the work."""
    if RANK == 0:
        typer.echo(result)


def shown(text: str) -> str:
    """Text that cannot steer a terminal: what is not printable by its number."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """Yield update(done, total, note=...); off a terminal only the finished bar is printed."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=hints) as progress:
        task = progress.add_task(title, total=None, note="", visible=False)

        def update(done: int, total: int, note: object = "") -> None:
            text = f"validation {note:.1%}" if isinstance(note, float) else str(note)
            progress.update(task, completed=done, total=total, note=text, visible=True)

        yield update


def parse_shots(value: str | None) -> tuple[int, ...] | None:
    """Parse "1,5,10"; raises typer.BadParameter where it is anything else."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{value!r} is no list of positive numbers such as 1,5,10")
    if len(set(parts)) != len(parts):
        raise typer.BadParameter(f"{value!r} names a shot count twice")
    return tuple(map(int, parts))
