"""xmg report."""

from pathlib import Path
from typing import Annotated

import typer

from xmg.cache.errors import XmgError
from xmg.cli.console import hints, parse_shots, progress_bar, say
from xmg.cli.media import AllowOutside, SourceData, TargetData, shower


def report(
    folder: Annotated[
        Path, typer.Argument(help="A run, or the folder of an ablation.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; default: report.html in the folder."),
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Labels per class, such as 1,5,10; default: the run's.")
    ] = None,
    source_data: SourceData = None,
    target_data: TargetData = None,
    allow_outside: AllowOutside = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
) -> None:
    """Write all that is known of a run, or of an ablation, as one HTML page.

    The page needs no network and runs nothing. Data that are named again are shown: photos, sounds
    to play, texts.

    Example: xmg report runs/sounds --source-data photos/ --target-data esc50/
    """
    from xmg.cache.outputs import appearing, check_own
    from xmg.engine.pages.render import HEAD

    page = out or folder / "report.html"
    check_own(page, ".html", HEAD, overwrite)
    text = _page(folder, parse_shots(shots), source_data, target_data, allow_outside)
    with appearing(page) as file:
        file.write(text.encode("utf-8", "replace"))
    say(str(page))
    hints.print(f"{len(text) / 1e6:.1f} MB; open it in a browser")


def _page(
    folder: Path,
    shots: tuple[int, ...] | None,
    source_data: list[Path] | None,
    target_data: list[Path] | None,
    allow_outside: bool,
) -> str:
    from xmg.engine.ablation.keeping import SPEC
    from xmg.engine.pages.ablation_page import ablation_page
    from xmg.engine.pages.run_page import run_page
    from xmg.engine.run import CONFIG

    if (folder / CONFIG).is_file():
        show = shower(folder, source_data, target_data, allow_outside)
        with progress_bar(f"report {folder.name}") as update:

            def told(done: int, total: int) -> None:
                update(done, total)
                if done == total:  # what follows takes longer than what was counted
                    hints.print("measured; now confusions, retrieval and the map")

            return run_page(folder, shots, show, told)
    if shots or source_data or target_data:
        raise XmgError(
            f"{folder} is not a run folder (no {CONFIG}), and --shots and data are those of a run. "
            "fix: leave them out for an ablation, or name a run"
        )
    if not (folder / SPEC).is_file() and not (folder / "cells").is_dir():
        raise XmgError(
            f"{folder} is neither a run folder (no {CONFIG}) nor that of an ablation (no {SPEC}). "
            "fix: name what xmg meta-train or xmg ablate has written"
        )
    return ablation_page(folder)
