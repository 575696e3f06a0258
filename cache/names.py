"""The name that was meant: ids, classes and columns that are nearly right."""

import difflib
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from xmg.cache.errors import XmgError

_WINDOW: Final = 1000  # comparing with a million ids would take minutes


def closest(name: str, known: Sequence[str]) -> str:
    """Such as `; the closest is 'dog'`; "" where nothing is known.

    Of many names only the alphabetical neighbours are compared. Names that look alike, such as
    'é' in one and in two code points, are shown by their code points.
    """
    among = sorted(known) if len(known) > _WINDOW else known
    if len(among) > _WINDOW:
        place = bisect_left(among, name)
        among = among[max(0, place - _WINDOW // 2) : place + _WINDOW // 2]
    found = difflib.get_close_matches(name, among, 1, 0)
    if not found:
        return ""
    alike = _plain(found[0]) == _plain(name)
    return f"; the closest is {ascii(found[0]) if alike else repr(found[0])}"


def check_ids(where: str, ids: Sequence[str]) -> None:
    """Raise XmgError with the rows of a table in which an id is empty, or occurs twice."""
    rows: dict[str, int] = {}
    for row, name in enumerate(ids, start=1):
        if not name:
            raise XmgError(f"{where}: row {row} has an empty id. fix: fill it, or --id-column NAME")
        if rows.setdefault(name, row) != row:
            raise XmgError(
                f"{where}: rows {rows[name]} and {row} share the id {name!r}. "
                f"fix: make ids unique, or name another column with --id-column"
            )


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip()


def chosen(where: str, names: Iterable[str], wanted: str | None, default: str) -> str | None:
    """The column that was asked for, else the default one, else None.

    Raises XmgError where the one asked for is not there.
    """
    known = list(names)
    if wanted is None:
        return default if default in known else None
    if wanted in known:
        return wanted
    raise XmgError(f"{where} lacks the column {wanted!r}{closest(wanted, known)}")
