"""xmg ablate."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmg.cache.errors import XmgError
from xmg.cli.completion import shipped_specs, specs
from xmg.cli.console import hints, progress_bar
from xmg.cli.escaping import lines_shown

if TYPE_CHECKING:
    from xmg.engine.ablation.results import Finished


def ablate(
    spec: Annotated[
        str | None,
        typer.Argument(
            help="A spec (TOML), or the name of a shipped one.",
            show_default=False,
            autocompletion=specs,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where results go; default: SPEC's name.")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="In place of the spec's source.")] = None,
    target: Annotated[Path | None, typer.Option(help="In place of the spec's target.")] = None,
    concepts: Annotated[Path | None, typer.Option(help="In place of the spec's.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="In place of the spec's.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="In place of the spec's.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes.")] = 1,
    shipped: Annotated[bool, typer.Option("--list", help="List the shipped specs.")] = False,
) -> None:
    """Run every row of a table side by side: resumable, on the same frozen episodes.

    Writes results.csv (an episode on each line), tables.md, accuracy.svg/.png and the spec as it
    ran, which xmg report reads. The same command continues after an interruption and tries failed
    cells again; what is finished stays.

    Example: xmg ablate text-to-speech --source text.h5 --target speech.h5 -j 2
    """
    if shipped:
        for path in shipped_specs():
            typer.echo(f"{path.stem:24} {path.read_text('utf-8').splitlines()[0].lstrip('# ')}")
        return
    if spec is None:
        raise typer.BadParameter("name a spec; --list shows those that come with xmg")
    path = _find(spec)
    from xmg.engine.ablation.keeping import keep
    from xmg.engine.ablation.plots import check_drawing
    from xmg.engine.ablation.protocol import check
    from xmg.engine.ablation.report import report
    from xmg.engine.ablation.results import read
    from xmg.engine.ablation.runner import run_cells
    from xmg.engine.ablation.spec import cells_of, read_spec

    chosen = read_spec(
        path,
        here=path in shipped_specs(),
        source=source,
        target=target,
        concepts=concepts,
        pairs=pairs,
        seeds=seeds,
    )
    for side, file in (("source", chosen.source), ("target", chosen.target)):
        if not file.exists():
            raise XmgError(f"the spec's {side}, {file}, is not there. fix: --{side} FEATURES.h5")
    cells = cells_of(chosen)
    for reason in check(cells).values():
        hints.print(f"the data cannot serve {reason}\nother rows are run")
    check_drawing()  # now, and not after hours
    out = out or Path(path.stem)
    with progress_bar(f"ablate {path.stem}") as update, _leaving_in_order():
        folders = run_cells(cells, out, jobs, update)
    keep(out, path.stem, chosen, folders)
    found = read(cells, folders)
    written = report(out, path.stem, found, chosen)
    _say(found, out, written)


@contextmanager
def _leaving_in_order() -> Iterator[None]:
    """Have SIGTERM, as of a cluster, end the processes first: else they leave semaphores behind,
    of which Python warns."""
    former = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _find(spec: str) -> Path:
    """A file, else a shipped spec of that name."""
    if Path(spec).exists() or Path(spec).suffix:
        return Path(spec)
    for path in shipped_specs():
        if path.stem == spec:
            return path
    names = ", ".join(path.stem for path in shipped_specs())
    raise XmgError(f"no spec {spec!r}: neither a file nor one of {names}")


def _say(found: "list[Finished]", out: Path, written: list[Path]) -> None:
    typer.echo(lines_shown((out / "tables.md").read_text("utf-8")))
    failed = [one for one in found if one.failure]
    hints.print("wrote " + ", ".join(map(str, written)))
    if failed:
        raise XmgError(
            f"{len(failed)} of {len(found)} cells failed, the first: {failed[0].cell.label} of "
            f"seed {failed[0].cell.seed}: {failed[0].failure}\nfix that, and repeat the command: "
            "only failed cells run again"
        )
