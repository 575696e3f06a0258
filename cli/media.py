"""What an id looks or sounds like, from data that a command line names again."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmg.cli.console import hints

if TYPE_CHECKING:
    from xmg.engine.analysis.retrieval import Side
    from xmg.engine.pages.items import Show, Shown
    from xmg.extract.inputs import Inputs

_HELP = "The {} data again, as for xmg extract (or its spec), to show them; repeat for several."
SourceData = Annotated[list[Path] | None, typer.Option(help=_HELP.format("source"))]
TargetData = Annotated[list[Path] | None, typer.Option(help=_HELP.format("target"))]
AllowOutside = Annotated[
    bool, typer.Option("--allow-outside", help="Trust a manifest's paths outside its folder.")
]


def shower(
    run: Path,
    source_data: Sequence[Path] | None,
    target_data: Sequence[Path] | None,
    allow_outside: bool,
) -> "Show":
    """What shows the inputs of a run's files; those of data that are not named stay ids.

    Raises XmgError where data cannot be listed, or are not those of the file.
    """
    from xmg.engine.run import load_config

    config = load_config(run)
    named = {"source": source_data, "target": target_data}
    inputs: dict[str, Inputs] = {}
    for side, path in (("source", config.source), ("target", config.target)):
        if data := named[side]:
            inputs[side] = _inputs(side, path, data, allow_outside)

    @cache
    def show(side: "Side", name: str) -> "Shown | None":
        return shown(inputs[side], name) if side in inputs else None

    return show


def _inputs(side: str, path: Path, data: Sequence[Path], allow_outside: bool) -> "Inputs":
    from xmg.cache import FeatureFile
    from xmg.extract.inputs import inputs_of

    with hints.status(f"listing the {side} data"):
        found = inputs_of(FeatureFile(path), data, allow_outside)
    if len(found.places) < found.n_rows:
        text = f"{side} data: {len(found.places):,} of the {found.n_rows:,} ids of {path} are there"
        hints.print(text)
    return found


def shown(inputs: "Inputs", name: str) -> "Shown":
    """One input, or the reason why it cannot be shown."""
    from xmg.engine.pages.items import Shown
    from xmg.extract.types import RejectError

    try:
        return Shown(inputs.modality, inputs.preview(name))
    except RejectError as error:
        return Shown("unread", str(error))
