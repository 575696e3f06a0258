"""The `xmg` command. Heavy libraries load inside a command, so that help answers at once."""

import sys

import typer

from xmg import __version__
from xmg.cache.errors import XmgError
from xmg.cli import cache
from xmg.cli.ablate import ablate
from xmg.cli.console import RANK
from xmg.cli.demo import demo
from xmg.cli.encoders import encoders
from xmg.cli.evaluate import evaluate
from xmg.cli.export import export
from xmg.cli.extract import extract
from xmg.cli.inspect import inspect
from xmg.cli.meta_train import meta_train
from xmg.cli.pair import pair
from xmg.cli.predict import predict
from xmg.cli.report import report
from xmg.cli.retrieve import retrieve

app = typer.Typer(
    name="xmg",
    help="Few-shot classification across modalities by meta-alignment.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(extract)
app.command()(encoders)
app.command("meta-train")(meta_train)
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.command()(inspect)
app.command()(report)
app.command()(retrieve)
app.command()(pair)
app.command()(ablate)
app.add_typer(cache.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xmg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run a command: exit status 2 for wrong usage, 1 for what the user can mend."""
    try:
        app()
    except XmgError as error:
        typer.echo(f"{f'[rank {RANK}] ' if RANK else ''}error: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # no permission, a full disk, a file where a folder should be
        if error.filename is None and error.strerror is None:
            raise
        typer.echo(f"error: {error.strerror}: {error.filename or 'while writing'}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
