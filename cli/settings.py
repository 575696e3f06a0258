"""The settings of a command: a TOML file, and options that win over it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xmg.cache.toml import read_toml

if TYPE_CHECKING:
    from xmg.engine.config import Config


def settings_of(
    source: Path, target: Path, file: Path | None, options: Mapping[str, Any]
) -> "Config":
    """The config of two feature files; options that are None leave the file's word.

    Raises XmgError where the file cannot be read or a setting is wrong.
    """
    from xmg.engine.config import make_config

    settings = read_toml(file, "settings") if file else {}
    settings |= {name: value for name, value in options.items() if value is not None}
    for name in ("concepts", "pairs"):
        if settings.get(name):
            settings[name] = _absolute(Path(settings[name]))
    if settings.get("concepts") and "sets" in settings:
        raise typer.BadParameter("`sets` is for strong pairs; concepts name the sets already")
    return make_config(**settings | {"source": _absolute(source), "target": _absolute(target)})


def _absolute(path: Path) -> Path:
    """As Path.resolve, which raises RuntimeError for a link that leads to itself."""
    return Path(os.path.realpath(path))
