"""The settings of a command: a TOML file, and options that win over it."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmg.cache.errors import XmgError
from xmg.cache.names import closest
from xmg.cache.toml import read_toml
from xmg.cli.completion import of

if TYPE_CHECKING:
    from xmg.engine.config import Config

Source = Annotated[
    Path, typer.Argument(help="Features of the modality rich in labels.", show_default=False)
]
Target = Annotated[
    Path, typer.Argument(help="Features of the modality poor in labels.", show_default=False)
]
Concepts = Annotated[
    Path | None, typer.Option(help="Weak pairs (TOML); without it equal ids are pairs.")
]
Pairs = Annotated[
    Path | None, typer.Option(help="Strong pairs where ids differ (CSV, as xmg pair writes).")
]
Sets = Annotated[
    str | None,
    typer.Option(
        help="Of strong pairs: label (default, the source's), id (each its own) or clusters.",
        autocompletion=of("label", "id", "clusters"),
    ),
]
Seed = Annotated[int | None, typer.Option(help="The only source of randomness; default 0.")]
NWay = Annotated[int | None, typer.Option(help="Classes of a task; default 5.")]
NQuery = Annotated[int | None, typer.Option(help="Queries per class; default 10.")]
Shots = Annotated[str | None, typer.Option(help="Labels per class; default 1,5,10.")]
Further = Annotated[
    Path | None, typer.Option(help="Any further settings (TOML); options above win.")
]


def settings_of(
    source: Path, target: Path, file: Path | None, options: Mapping[str, Any]
) -> "Config":
    """The config of two feature files; options that are None leave the file's word.

    Raises XmgError where the file cannot be read or a setting is wrong.
    """
    from xmg.engine.config import make_config

    given = {name: value for name, value in options.items() if value is not None}
    settings = read_toml(file, "settings") if file else {}
    in_file = settings.keys() - given.keys()
    settings |= given
    for name in ("concepts", "pairs"):
        if isinstance(settings.get(name), str | Path):  # other values are refused by name
            settings[name] = _absolute(Path(settings[name]))
    if settings.get("concepts") and "sets" in settings:
        raise typer.BadParameter("`sets` is for strong pairs; concepts name the sets already")
    _check_system(settings.get("system"), source, target)
    settings |= {"source": _absolute(source), "target": _absolute(target)}
    try:
        return make_config(**settings)
    except XmgError as error:
        starts = [f"{start}{name}" for name in in_file for start in ("", "there is no setting '")]
        where = f"{file}: " if str(error).startswith(tuple(starts)) else ""
        raise XmgError(f"{where}{error}") from None


def _check_system(name: Any, source: Path, target: Path) -> None:
    """Raise XmgError for a system that is unknown, or that nothing can train."""
    from xmg.engine.systems import CLOSED_FORM, TRAINED

    if isinstance(name, str) and name in CLOSED_FORM:
        spec = rf'systems = ["{name}"]\nreference = "{name}"\n'
        files = shlex.join(["--source", str(source), "--target", str(target)])
        raise XmgError(
            f"system {name!r} is a closed form: there is nothing to train.\n"
            f"fix: printf '{spec}' > check.toml && xmg ablate check.toml {files}"
        )
    if isinstance(name, str) and name not in TRAINED:
        raise XmgError(
            f"there is no system {name!r}{closest(name, [*TRAINED])}. fix: one of "
            + ", ".join(TRAINED)
        )


def _absolute(path: Path) -> Path:
    """As Path.resolve, which raises RuntimeError for a link that leads to itself.

    A path that holds NUL stays, and is told by whoever reads it.
    """
    return path if "\0" in str(path) else Path(os.path.realpath(path))
