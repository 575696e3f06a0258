"""What is wrong with a spec, said in the words of a spec."""

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from xmg.cache.names import closest
from xmg.cache.wording import of_value

_HEADER: Final = "begin each data set with a line [[extract]]"


def in_words(error: ValidationError, keys: Sequence[str]) -> str:
    """Such as `table 2: there is no key 'encodr'; the closest is 'encoder'. fix: ...`.

    keys: those of a table. Of several faults the first table's is told, and what is misspelt
    rather than what it leaves missing.
    """
    found = min(error.errors(), key=_order)
    where, *key = found["loc"]
    if where == "extract" and key:
        return f"table {int(key[0]) + 1}: {_in_table(found, key[1:], keys)}"
    return _outside(found) or _in_table(found, [where], keys)


def _order(error: ErrorDetails) -> tuple[int, bool]:
    _, *key = error["loc"]
    return int(key[0]) if key else -1, error["type"] != "extra_forbidden"


def _outside(error: ErrorDetails) -> str:
    """What is wrong with tables as such; "" where it is a value."""
    name, value = error["loc"][0], error["input"]
    if error["type"] == "extra_forbidden" and isinstance(value, dict | list):
        return f"there is no table {name!r}. fix: {_HEADER}"
    if error["type"] == "extra_forbidden":
        return f"there is no key {name!r} outside of tables. fix: put it below a line [[extract]]"
    if error["type"] == "list_type":
        return f"{name} is no list of tables. fix: {_HEADER}, in double brackets"
    if name == "extract":
        return f"{name} is {'missing' if error['type'] == 'missing' else 'empty'}. fix: {_HEADER}"
    return ""


def _in_table(error: ErrorDetails, key: Sequence[int | str], keys: Sequence[str]) -> str:
    if not key:
        return f"{error['input']!r} is no table. fix: {_HEADER}"
    name = str(key[0])
    if error["type"] == "extra_forbidden":
        return f"there is no key {name!r}{closest(name, keys)}. fix: one of {', '.join(keys)}"
    if error["type"] == "value_error":
        return f"{name} {error['ctx']['error']}"
    return of_value([{**error, "loc": key}])
