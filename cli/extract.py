"""xmg extract."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from xmg.cli.console import hints, progress_bar


def extract(
    data: Annotated[
        list[Path],
        typer.Argument(help="Folders or manifests; several become one file.", show_default=False),
    ],
    encoder: Annotated[
        str, typer.Option("--encoder", "-e", help="A frozen encoder, such as resnet50 or yamnet.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The feature file to write (.h5).")],
    layout: Annotated[
        str, typer.Option(help="auto, folder, manifest, esc50, cifar, yummly28k or wilderness.")
    ] = "auto",
    id_column: Annotated[str | None, typer.Option(help="Manifest column of ids.")] = None,
    content_column: Annotated[
        str | None, typer.Option(help="Manifest column of paths or texts.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Manifest column of classes.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A weights file in place of the encoder's own.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Text encoders: mean or cls.")] = None,
    device: Annotated[
        str | None, typer.Option(help="A torch device; by default CUDA where present.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoding threads; by default one per core.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Keep known rows; encode new and changed inputs.")
    ] = False,
) -> None:
    """Run a frozen encoder once over a data set and cache the features in HDF5.

    Example: xmg extract photos/ --encoder resnet50 -o photos.h5
    """
    if overwrite and update:
        raise typer.BadParameter("--overwrite and --update exclude one another")
    from xmg.extract.encoders import load_encoder
    from xmg.extract.pipeline import extract as run
    from xmg.extract.sources import open_source
    from xmg.extract.sources.combined import combine

    with hints.status(f"loading {encoder}"):
        model = load_encoder(encoder, weights=weights, pooling=pooling, device=device)
    sources = [
        open_source(
            path,
            model.modality,
            layout=layout,
            id_column=id_column,
            content_column=content_column,
            label_column=label_column,
        )
        for path in data
    ]
    with _kept_on_interrupt(out), progress_bar(f"{encoder}") as advance:
        file = run(
            combine(sources),
            model,
            out,
            dtype=dtype,
            n_workers=workers,
            existing="overwrite" if overwrite else "update" if update else "keep",
            progress=advance,
            notify=lambda message: hints.print(message, markup=False),
        )
    kind = "sequences" if file.is_sequence else "rows"
    typer.echo(f"{out}: {len(file)} {kind} x {file.dim}, {len(file.classes)} classes")
    for name, reason in file.rejects[:5]:
        hints.print(f"rejected {name}: {reason}", markup=False)
    if len(file.rejects) > 5:
        hints.print(f"... {len(file.rejects)} rejects in all, listed in {out} under /rejects")


@contextmanager
def _kept_on_interrupt(out: Path) -> Iterator[None]:
    """Say after Ctrl-C that nothing was in vain."""
    try:
        yield
    except KeyboardInterrupt:
        hints.print(f"{out} is not whole yet; the same command goes on from here", markup=False)
        raise
