"""xmg cache export and import: features from and for other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmg.cache.counted import counted
from xmg.cache.errors import XmgError
from xmg.cli.console import hints, say

if TYPE_CHECKING:
    from xmg.cache import FeatureFile
    from xmg.cache.exchange.arrays import Table


def export(
    path: Annotated[Path, typer.Argument(help="A feature file (.h5).", show_default=False)],
    out: Annotated[
        Path, typer.Argument(help="A .npy, .parquet, .arrow or .feather.", show_default=False)
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write features for other programs; ids and labels go with them (.npy: a .csv beside it).

    Example: xmg cache export photos.h5 photos.parquet
    """
    from xmg.cache import FeatureFile
    from xmg.cache.exchange.export import export as run

    for written in run(FeatureFile(path), out, overwrite=overwrite, notify=hints.print):
        typer.echo(written)


def import_(
    path: Annotated[
        Path, typer.Argument(help="A .npy, .parquet, .arrow or .feather.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The feature file to write (.h5).")],
    encoder: Annotated[
        str | None, typer.Option("--encoder", "-e", help="What made the features.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="For .npy: a CSV, TSV or JSONL with a row for each; default FILE.csv."),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="A name for the data.")] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16 or float32; by default as in the file.")
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of ids; default id.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of classes; label.")] = None,
    features_column: Annotated[
        str | None, typer.Option(help="Column of features, not for .npy.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features.")] = False,
) -> None:
    """Make a feature file of features that another program made.

    Example: xmg cache import clip.npy --table rows.csv --encoder clip-vit-b32 -o photos.h5
    """
    from xmg.cache.exchange.arrays import from_arrays
    from xmg.cache.exchange.arrow import read_arrow
    from xmg.cache.exchange.export import suffix_of

    if suffix_of(path) == ".npy":
        if features_column:
            raise typer.BadParameter("--features-column is for .parquet, .arrow and .feather")
        found = _read_npy(path, table, id_column, label_column)
    else:
        if table:
            raise typer.BadParameter("--table is for .npy; other formats have columns of their own")
        found = read_arrow(
            path,
            id_column=id_column,
            label_column=label_column,
            features_column=features_column,
            notify=hints.print,
        )
    made_by = encoder or found.spec
    if made_by is None:
        raise XmgError(f"{path} does not say what made its features. fix: --encoder NAME")
    dataset = path.stem if dataset is None and isinstance(made_by, str) else dataset
    named = {} if dataset is None else {"dataset": dataset}
    file = from_arrays(
        out,
        found.rows,
        encoder=made_by,
        ids=found.ids,
        labels=found.labels,
        columns=found.columns,
        dtype=dtype or ("float16" if found.rows.dtype == "float16" else "float32"),
        overwrite=overwrite,
        notify=hints.print,
        **named,
    )
    report(file)


def report(file: "FeatureFile") -> None:
    """Say on stdout what was written."""
    kind = "sequences" if file.is_sequence else "rows"
    say(f"{file.path}: {len(file)} {kind} x {file.dim}, {counted(len(file.classes), 'class')}")


def _read_npy(
    path: Path, table: Path | None, id_column: str | None, label_column: str | None
) -> "Table":
    """Read an array, with the table that was named, or else lies beside it."""
    from xmg.cache.exchange.export import table_of
    from xmg.cache.exchange.npy import read_npy
    from xmg.extract.sources.manifest import read_columns

    beside = table_of(path)
    if table is None and beside.is_file():
        hints.print(f"ids and labels are from {beside}")
        table = beside
    names = id_column or "id", label_column or "label"
    columns = read_columns(table, names) if table else None
    if columns is None and (id_column or label_column):
        raise typer.BadParameter("--id-column and --label-column need --table ROWS.csv")
    return read_npy(path, columns, id_column=id_column, label_column=label_column)
