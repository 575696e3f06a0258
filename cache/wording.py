"""What is wrong with a value that a person wrote, in a sentence that says what to write."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

_NUMBER: Final = ("no number", "a number")
_WHOLE: Final = ("no whole number", "a whole number")
_BOOL: Final = ("neither true nor false", "true or false")
_LIST: Final = ("no list", "put it in [ ]")
_TEXT: Final = ("no text", "put it in quotes")
_PATH: Final = ("no path", "put it in quotes")
_TABLE: Final = ("no table", "begin a table by a line with its name in brackets")
_RULES: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than_equal": ("", "{ge:g} or more"),
    "greater_than": ("", "more than {gt:g}"),
    "less_than_equal": ("", "{le:g} at most"),
    "less_than": ("", "less than {lt}"),
    "literal_error": ("", "{expected}"),
    "too_short": ("", "name {min_length} at least"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("bool_type", "bool_parsing"), _BOOL),
    **dict.fromkeys(("list_type", "tuple_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type"), _TABLE),
    "string_type": _TEXT,
    "path_type": _PATH,
}


def of_value(errors: Sequence[Mapping[str, Any]], depth: int = 1) -> str:
    """Such as `width is 0. fix: 1 or more`, of the first of pydantic's errors (`error.errors()`).

    The name is the first `depth` parts of the place. Where a value may be of several kinds, a rule
    of each is named.
    """
    first = errors[0]
    name, further = ".".join(map(str, first["loc"][:depth])), first["loc"][depth:]
    entry = f", entry {further[0] + 1}," if further and isinstance(further[0], int) else ""
    if first["type"] == "missing":
        return f"{name} is missing. fix: {name} = ..."
    if first["type"] not in _RULES:
        said = first["msg"].removeprefix("Value error, ")
        return f"{name}: {said}" if name else said
    place, value = first["loc"][:depth], first["input"]
    same = (e for e in errors if e["loc"][:depth] == place and e["input"] is value)
    rules = [(e, *_RULES[e["type"]]) for e in same if e["type"] in _RULES]
    fault = f", {rules[0][1]}" if len(rules) == 1 and rules[0][1] else ""
    ways = [fix.format(**e.get("ctx", {})) for e, _, fix in rules]
    return f"{name}{entry} is {value!r}{fault}. fix: {', or '.join(dict.fromkeys(ways))}"
