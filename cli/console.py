"""What commands share: progress and hints on stderr, results on stdout."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text

from xmg.cli import progress
from xmg.cli.escaping import lines_shown
from xmg.cli.events import Events


def _rank() -> int:
    """Of the processes that torchrun starts; 0 where it did not, whatever else sets RANK."""
    rank = os.environ.get("RANK", "")
    return int(rank) if rank.isdecimal() and "WORLD_SIZE" in os.environ else 0


RANK: Final = _rank()
if os.environ.get("NO_COLOR"):  # bold and a moving cursor are escape sequences too
    os.environ["TERM"] = "dumb"


class Hints(Console):
    """Stderr: lines for people or, after `log_json`, one JSON object a line."""

    events: Events | None = None

    def print(self, *objects: Any, **options: Any) -> None:
        """Say what a person should know."""
        if self.events is None:
            super().print(*map(_safe, objects), **options)
        elif not self.quiet:
            plain = (self.render_str(str(one)).plain for one in objects)
            self.events.emit("hint", " ".join(plain).strip())

    def status(self, status: Any, **options: Any) -> Status:
        """Say what is under way, on a terminal by a spinner that then goes."""
        if self.events is not None and not self.quiet:
            self.events.emit("status", str(status))
        shown = Text(lines_shown(str(status)))  # names of files and encoders are no markup
        if self.events is not None:
            return Status(shown, console=Console(file=io.StringIO()))
        return super().status(shown, **options)

    def error(self, message: str) -> None:
        """Say what is wrong, in every process of several."""
        if self.events is None:
            typer.echo(
                f"{f'[rank {RANK}] ' if RANK else ''}error: {lines_shown(message)}", err=True
            )
        else:
            self.events.emit("error", message)

    def moves(self) -> bool:
        """Whether a bar can be drawn: on a terminal, unless TERM=dumb or NO_COLOR are set."""
        return sys.stderr.isatty() and not self.is_dumb_terminal

    def log_json(self) -> None:
        """From here on everything on stderr is JSON."""
        if self.events is None:
            self.events = Events(sys.stderr)
            sys.stderr = self.events

    def name(self, command: str) -> None:
        """Say which command the events belong to."""
        if self.events is not None:
            self.events.command = command

    def end_json(self) -> None:
        """Give stderr back."""
        if self.events is not None:
            sys.stderr, self.events = self.events.finish(), None


def _safe(one: Any) -> Any:
    return lines_shown(one) if isinstance(one, str) else one


# Names of files and classes are in all that is said, and no markup
hints = Hints(
    stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True, quiet=RANK > 0
)


def say(result: str) -> None:
    """Print a result, once however many processes share the work."""
    if RANK == 0:
        typer.echo(result)


@contextmanager
def progress_bar(title: str) -> Iterator[progress.Update]:
    """Yield update(done, total, note=...): a bar on a terminal, else plain lines, or events."""
    if hints.quiet:
        yield lambda done, total, note="": None
    elif hints.events is not None:
        with progress.events(title, hints.events) as update:
            yield update
    elif hints.moves():
        with progress.bar(title, hints) as update:
            yield update
    else:
        with progress.lines(title, hints.print) as update:
            yield update


def parse_shots(value: str | None) -> tuple[int, ...] | None:
    """Parse "1,5,10"; raises typer.BadParameter where it is anything else."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{value!r} is no list of positive numbers such as 1,5,10")
    shots = tuple(map(int, parts))
    if len(set(shots)) != len(shots):  # a count that is measured twice would pass for more repeats
        raise typer.BadParameter(f"{value!r} names a shot count twice")
    return shots
