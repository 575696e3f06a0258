"""xmg doctor."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from xmg import __version__
from xmg.cache.counted import counted
from xmg.cli.console import hints
from xmg.cli.escaping import shown

if TYPE_CHECKING:
    from xmg.cli.doctoring.finding import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Check packages, devices, disks and caches, and say what mends what is wrong.

    Each package is tried in a process of its own, so that none that is broken stops the others.
    Exit status 1 where a problem stops xmg, or an installed part of it, from working.

    Example: xmg doctor

    For machines: xmg doctor --json
    """
    from xmg.cli.doctoring.examine import examine
    from xmg.cli.doctoring.finding import worst

    with hints.status("trying the installed packages"):
        found = examine()
    status = worst(found)
    if as_json:
        whole = {"xmg": __version__, "status": status, "findings": [asdict(one) for one in found]}
        typer.echo(json.dumps(whole, indent=1))
    else:
        _print(found)
        n = [sum(one.status == status for one in found) for status in ("problem", "warning")]
        hints.print(f"{counted(n[0], 'problem')}, {counted(n[1], 'warning')}")
    if status == "problem":
        raise typer.Exit(1)


def _print(found: "list[Finding]") -> None:
    """A line for each finding, and below it what mends it."""
    console = Console(highlight=False, soft_wrap=True)
    for one in found:
        line = Text(f"{one.status:8} ", _STYLES[one.status])
        console.print(line.append(f"{shown(one.about)}: {shown(one.what)}", "default"))
        if one.fix:
            console.print(Text(f"{'':8} fix: {shown(one.fix)}"))
