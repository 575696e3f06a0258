"""On which line of a TOML file a key or a value stands, so that an error can name it."""

import re
import tomllib
from typing import Any


def line_of(text: str, *where: str | int) -> str:
    """`, line N` of where, such as ("variant", 1, "start"); of what holds it, if it is not there.

    The file is read again up to each line: the first part that holds it ends with it.
    """
    while where and not _holds(tomllib.loads(text), where):
        where = where[:-1]
    if not where:
        return ""
    lines, before = text.split("\n"), 0
    for n in range(1, len(lines) + 1):
        try:
            document = tomllib.loads("\n".join(lines[:n]))
        except tomllib.TOMLDecodeError:
            continue  # inside a list of several lines
        if _holds(document, where):
            return f", line {before + 1 + _offset(lines[before:n], document, where)}"
        before = n
    return ""


def _holds(document: Any, where: tuple[str | int, ...]) -> bool:
    try:
        _at(document, where)
    except (LookupError, TypeError):
        return False
    return True


def _at(document: Any, where: tuple[str | int, ...]) -> Any:
    for key in where:
        document = document[key]
    return document


def _offset(lines: list[str], document: Any, where: tuple[str | int, ...]) -> int:
    """Of the lines of a list, the one that holds the entry; 0 for anything else."""
    if len(lines) == 1 or not isinstance(where[-1], int):
        return 0
    values, i = _at(document, where[:-1]), where[-1]
    token = re.compile(rf"(?<![\w-]){re.escape(str(values[i]))}(?![\w-])")
    found = [n for n, line in enumerate(lines) if token.search(line.split("#")[0])]
    return found[min(values[:i].count(values[i]), len(found) - 1)] if found else 0
