"""xmg extract."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmg.cli.completion import LAYOUTS, encoders, of
from xmg.cli.extracting import each, encode, foresee

if TYPE_CHECKING:
    from xmg.extract.asked import Existing
    from xmg.extract.spec import Job


def _path(value: str) -> Path:
    """A path that is there: the empty one would be the working folder."""
    if not value:
        raise typer.BadParameter("a path is empty. fix: name one; is a shell variable unset?")
    return Path(value)


def extract(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders or manifests; several become one file. Or one spec (.toml).",
            show_default=False,
            parser=_path,
            metavar="data",
        ),
    ],
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="A frozen encoder, such as resnet50 or yamnet.",
            autocompletion=encoders,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The feature file to write (.h5).")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="auto (default), folder, manifest, esc50, cifar, yummly28k or wilderness.",
            autocompletion=of(*LAYOUTS),
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Manifest column of ids.")] = None,
    content_column: Annotated[
        str | None, typer.Option(help="Manifest column of paths or texts.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Manifest column of classes.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A weights file in place of the encoder's own.")
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="bert, hf:MODEL: mean, cls, pooler or none (sequences); or mean,cls.",
            autocompletion=of("mean", "cls", "pooler", "none"),
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="bert, hf:MODEL: blocks to read, such as 6,12.")
    ] = None,
    modality: Annotated[
        str | None,
        typer.Option(
            help="Of an hf: model with several: image, text or audio.",
            autocompletion=of("image", "text", "audio"),
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="A torch device; by default CUDA where present.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float16 (default) or float32.", autocompletion=of("float16", "float32")),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Decoding threads; by default one per core.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many inputs, spread over the data.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other features.")] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Keep known rows; encode new and changed inputs.")
    ] = False,
    allow_outside: Annotated[
        bool, typer.Option("--allow-outside", help="Trust a manifest's paths outside its folder.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that an hf: model brings.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; say what would be done, and how long.")
    ] = False,
) -> None:
    """Run a frozen encoder once over a data set and cache the features in HDF5.

    Example: xmg extract photos/ --encoder resnet50 -o photos.h5

    What would it take? xmg extract photos/ --encoder resnet50 -o photos.h5 --dry-run

    A first look: xmg extract photos/ --encoder resnet50 -o few.h5 --limit 500

    Several data sets, of which a spec says data, encoder and out: xmg extract sets.toml
    """
    if overwrite and update:
        raise typer.BadParameter("--overwrite and --update exclude one another")
    existing: Existing = "overwrite" if overwrite else "update" if update else "keep"
    jobs = _jobs(
        data,
        _given(device=device, workers=workers, limit=limit),
        _given(
            encoder=encoder,
            out=out,
            layout=layout,
            id_column=id_column,
            content_column=content_column,
            label_column=label_column,
            weights=weights,
            pooling=pooling,
            layers=layers,
            modality=modality,
            dtype=dtype,
        ),
    )
    act = partial(foresee if dry_run else encode, existing=existing, allow_outside=allow_outside)
    each(jobs, act, trust_remote_code)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _jobs(data: list[Path], of_all: dict[str, Any], of_one: dict[str, Any]) -> "list[Job]":
    """The tables of a spec, or the one job of the options."""
    from xmg.extract.spec import make_job, read_spec

    if len(data) == 1 and data[0].suffix == ".toml" and not data[0].is_dir():
        if of_one:
            named = ", ".join(f"--{name.replace('_', '-')}" for name in of_one)
            raise typer.BadParameter(f"{named}: the tables of a spec say that; leave it out here")
        return read_spec(data[0], **of_all)
    for name in ("encoder", "out"):
        if name not in of_one:
            raise typer.BadParameter(
                f"missing --{name} / -{name[0]}; only a spec (.toml) has its own"
            )
    return [make_job(data=data, **of_one, **of_all)]
