"""xmg cache: look into feature files, check them, join them, take parts, exchange them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xmg.cache.counted import counted
from xmg.cache.errors import XmgError
from xmg.cli.console import hints
from xmg.cli.escaping import shown
from xmg.cli.exchange import export, import_, report

if TYPE_CHECKING:
    from xmg.cache import FeatureFile

app = typer.Typer(
    name="cache", help="Look into feature files, check, join, cut and exchange them.",
    no_args_is_help=True,
)  # fmt: skip

_SHOWN: Final = 20  # classes
_SHOWN_REJECTS: Final = 5

File = Annotated[Path, typer.Argument(help="A feature file (.h5).", show_default=False)]
Files = Annotated[list[Path], typer.Argument(help="Feature files (.h5).", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", help="The feature file to write (.h5).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace other features.")]


@app.callback()
def _root(context: typer.Context) -> None:
    hints.name(f"cache {context.invoked_subcommand}")


@app.command()
def info(
    path: File,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """What a feature file holds, and what made it.

    Example: xmg cache info photos.h5
    """
    from xmg.cache import FeatureFile
    from xmg.cache.summary import summary

    found = summary(FeatureFile(path))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        _print_summary(found)


@app.command()
def verify(paths: Files) -> None:
    """Read files whole and compare every byte with its checksum; exit status 1 for any damage.

    Example: xmg cache verify photos.h5 sounds.h5
    """
    n_damaged = 0
    for path in paths:
        damaged = False
        for line in _damages(path):
            typer.echo(f"{path}: {line}")
            damaged = True
        if not damaged:
            typer.echo(f"{path}: whole")
        n_damaged += damaged
    if n_damaged:
        hints.print(f"{n_damaged} of {len(paths)} damaged. fix: extract again with --overwrite")
        raise typer.Exit(1)


@app.command()
def merge(paths: Files, out: Out, overwrite: Overwrite = False) -> None:
    """Join files that one encoder made, row after row.

    Example: xmg cache merge monday.h5 tuesday.h5 -o both.h5
    """
    from xmg.cache import FeatureFile
    from xmg.cache.edit import merge as run

    files = [FeatureFile(path) for path in paths]
    report(run(files, out, overwrite=overwrite, notify=hints.print))


@app.command()
def select(
    path: File,
    out: Out,
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="A class to keep; give it repeatedly.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="A text file of classes to keep, one a line.")
    ] = None,
    ids: Annotated[
        Path | None, typer.Option(help="A text file of ids to keep, one a line.")
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="Of features side by side one part, as `info` names it.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Take the rows of some classes, of some ids, or of both, in the file's order.

    Example: xmg cache select photos.h5 --class dog --class cat -o pets.h5

    One layer of several: xmg cache select states.h5 --part "layer 6 mean" -o layer6.h5
    """
    from xmg.cache import FeatureFile
    from xmg.cache.edit import select as run

    if class_ is None and classes is None and ids is None and part is None:
        raise typer.BadParameter("give --class NAME, --classes FILE, --ids FILE or --part NAME")
    names = [*(class_ or []), *(_lines(classes) if classes else [])]
    wanted = names if class_ is not None or classes else None
    listed = _lines(ids) if ids else None
    file = run(
        FeatureFile(path), out, classes=wanted, ids=listed, part=part, overwrite=overwrite,
        notify=hints.print,
    )  # fmt: skip
    report(file)


app.command("export")(export)
app.command("import")(import_)


def _lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file without their ends; empty ones are passed over."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise XmgError(f"cannot read {path} as UTF-8: {error}. fix: save it as UTF-8") from error
    except OSError as error:
        raise XmgError(f"cannot read {path}: {error.strerror}. fix: check the path") from error
    found = [line.removesuffix("\r") for line in text.split("\n")]
    names = [line for line in found if line]
    if not names:
        raise XmgError(f"{path} has no line with a name. fix: write one on each line")
    return names


def _damages(path: Path) -> Iterator[str]:
    from xmg.cache import FeatureFile
    from xmg.cache.verify import damages

    try:
        file = FeatureFile(path)
        for damage in damages(file):
            yield f"damaged: {damage}{_ids_of(file, damage.dataset, damage.first, damage.last)}"
    except XmgError as error:
        yield f"damaged: {error}" if path.exists() else str(error)
    except OSError as error:
        yield f"cannot be read: {error.strerror or error}"


def _ids_of(file: "FeatureFile", dataset: str, first: int, last: int) -> str:
    """The ids of damaged rows, such as ` (ids 'a' to 'b')`, where they belong to inputs."""
    if dataset == "frames":
        first, last = (file.offsets.searchsorted([first, last], "right") - 1).tolist()
    elif dataset not in ("features", "ids", "labels", "contents") and dataset[:8] != "columns/":
        return ""
    ids = (file.ids[min(max(row, 0), len(file) - 1)] for row in (first, last))
    start, stop = (name.decode("utf-8", "backslashreplace") for name in ids)
    return f" (ids {start!r} to {stop!r})"


def _print_summary(found: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for name, value in _facts(found):
        console.print(Text(f"{name:<14} {shown(value)}".rstrip()))
    classes: Mapping[str, int] = found["classes"]
    if classes:
        table = Table("class", title=counted(len(classes), "class"), title_justify="left")
        table.add_column("rows", justify="right")
        for name in list(classes)[:_SHOWN]:
            table.add_row(Text(shown(name), overflow="fold"), f"{classes[name]:,}")
        Console(highlight=False).print(table)
    if len(classes) > _SHOWN:
        console.print(f"... {len(classes) - _SHOWN:,} more")
        hints.print("fix: --json lists all classes")
    rejects: Mapping[str, str] = found["rejects"]
    for name in list(rejects)[:_SHOWN_REJECTS]:
        console.print(Text(f"rejected {shown(name)}: {shown(rejects[name])}"))
    if len(rejects) > _SHOWN_REJECTS:
        console.print(f"... {len(rejects) - _SHOWN_REJECTS:,} more")


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and value of each line above the classes."""
    lengths = found["sequences"]
    yield "dataset", found["dataset"]
    yield "encoder", found["encoder"]
    yield "weights", found["weights_sha256"] or "none"
    yield "preprocessing", json.dumps(found["preprocessing"], ensure_ascii=False)
    yield "versions", ", ".join(f"{name} {v}" for name, v in found["versions"].items())
    yield (
        "features",
        f"{found['rows']:,} {'sequences' if lengths else 'rows'} x {found['dim']:,} "
        f"{found['dtype']}",
    )
    if lengths:
        yield (
            "frames",
            f"{lengths['frames']:,}; each {lengths['shortest']:,} to {lengths['longest']:,}, "
            f"median {lengths['median']:,g}",
        )
    yield "on disk", f"{found['bytes']:,} bytes"
    yield "columns", ", ".join(found["columns"]) or "none"
    yield "unlabelled", f"{found['unlabelled']:,}"
    yield "rejects", f"{len(found['rejects']):,}"
    yield "fingerprint", found["fingerprint"]
