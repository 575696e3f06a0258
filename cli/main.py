"""The `xmg` command. Heavy libraries load inside a command, so that help answers at once."""

import io
import os
import sys
import traceback
from pathlib import Path

import typer

from xmg import __version__
from xmg.cache.errors import XmgError
from xmg.cli import cache
from xmg.cli.ablate import ablate
from xmg.cli.advise import advise
from xmg.cli.console import hints
from xmg.cli.demo import demo
from xmg.cli.doctor import doctor
from xmg.cli.encoders import encoders
from xmg.cli.evaluate import evaluate
from xmg.cli.export import export
from xmg.cli.extract import extract
from xmg.cli.heap import keep_freed_memory
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
    context_settings={
        "help_option_names": ["-h", "--help"],
        # to read an option without a default typer loads pydantic, long before any help
        "default_map": {"cache": {"help": False}, "help": False}
        | dict.fromkeys(("install_completion", "show_completion"), False),
    },
)
app.command()(demo)
app.command()(extract)
app.command()(encoders)
app.command()(advise)
app.command("meta-train")(meta_train)
app.command()(evaluate)
app.command()(predict)
app.command()(export)
app.command()(inspect)
app.command()(report)
app.command()(retrieve)
app.command()(pair)
app.command()(ablate)
app.command()(doctor)
app.add_typer(cache.app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"xmg {__version__}")
        raise typer.Exit


def _log_json(wanted: bool) -> None:
    if wanted:
        hints.log_json()


@app.callback()
def _root(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    log_json: bool = typer.Option(
        False,
        "--log-json",
        callback=_log_json,
        is_eager=True,
        help="Progress and hints as JSON lines on stderr: xmg --log-json COMMAND.",
    ),
) -> None:
    hints.name(context.invoked_subcommand or "")
    _check_threads()
    _check_folder()


def _check_threads() -> None:
    """Raise XmgError where numba would refuse to load, or show a traceback and take them all."""
    wanted = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    if wanted and not (wanted.isdecimal() and int(wanted)):
        raise XmgError(
            f"NUMBA_NUM_THREADS is {wanted}, and has to be a number, of one thread at least. "
            "fix: unset NUMBA_NUM_THREADS"
        )


def _check_folder() -> None:
    """Raise XmgError where the current folder is gone, without which MKL ends the process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise XmgError(
            "the current folder has been removed. fix: cd to one that is there"
        ) from None


def _open_streams() -> None:
    """Have somewhere to write to where the shell closed it, and lose no result to its encoding."""
    for name in ("stdout", "stderr"):  # in the order of their numbers, which open() fills up
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def main() -> None:
    """Run a command: exit status 2 for wrong usage, 1 for what the user can mend."""
    keep_freed_memory()
    _open_streams()
    try:
        app()
    except XmgError as error:
        hints.error(str(error))
        sys.exit(1)
    except OSError as error:  # no permission, a full disk, a file where a folder should be
        if hints.events is None and error.filename is None and error.strerror is None:
            raise
        where = error.filename or "while writing"
        again = "put that right and type the same command again"
        hints.error(f"{error.strerror or error}: {where}. fix: {again}")
        sys.exit(1)
    except Exception:
        if hints.events is None:
            raise
        hints.error(traceback.format_exc())
        sys.exit(1)
    finally:
        hints.end_json()


if __name__ == "__main__":
    main()
