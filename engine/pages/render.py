"""Templates to pages. Whatever comes from data is escaped, and shown without control characters."""

import unicodedata
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xmg import __version__

HEAD: Final = b"<!DOCTYPE html>"  # how every page begins
_UNSEEN: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, and what turns the order of letters
_KEPT: Final = frozenset("\n\t\u200c\u200d\ufe0f")  # joiners belong to scripts and emoji


def page(template: str, **values: Any) -> str:
    """The page that a template of `templates/` makes of values."""
    made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return _environment().get_template(template).render(version=__version__, made=made, **values)


def plain(text: str) -> str:
    """Without control characters, and what reverses text: U+FFFD stands in their place."""
    return "".join(
        "\ufffd" if unicodedata.category(c) in _UNSEEN and c not in _KEPT else c for c in text
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("xmg.engine.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Of what a template prints: markup stays, text is made plain."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
