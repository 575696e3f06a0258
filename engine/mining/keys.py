"""Strong pairs by a column that both files have, where ids differ."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from xmg.cache import FeatureFile, XmgError, decode
from xmg.cache.names import chosen

Triple = tuple[str, str, str]  # source id, target id, set
_MOST_PAIRS: Final = 10_000_000


def pairs_by_key(source: FeatureFile, target: FeatureFile, key: str) -> list[Triple]:
    """Pair the rows with equal values of the column `key`; the value names the set.

    Rows in source order. A value that several rows have on either side pairs each with each;
    an empty value pairs nothing. Raises XmgError where a file lacks the column, no value is in
    both, or there are more than ten million pairs.
    """
    s_keys, t_keys = _values(source, key), _values(target, key)
    rows_of = defaultdict(list)
    for row, value in enumerate(t_keys):
        rows_of[value].append(row)
    n_pairs = sum(len(rows_of.get(value, ())) for value in s_keys if value)
    if not n_pairs:
        raise XmgError(
            f"no pairs: {source.path} has {key} like {_example(s_keys)} and {target.path} like "
            f"{_example(t_keys)}, and no value is in both. fix: --key with another column"
        )
    if n_pairs > _MOST_PAIRS:
        raise XmgError(f"{key} gives {n_pairs:,} pairs. fix: --key with a column of more values")
    return list(_pairs(source, target, s_keys, rows_of))


def _pairs(
    source: FeatureFile, target: FeatureFile, s_keys: list[str], rows_of: dict[str, list[int]]
) -> Iterator[Triple]:
    s_ids, t_ids = decode(source.ids), decode(target.ids)
    for s_id, value in zip(s_ids, s_keys, strict=True):
        for row in rows_of.get(value, ()) if value else ():
            yield s_id, t_ids[row], value


def _values(file: FeatureFile, key: str) -> list[str]:
    if not file.columns:
        raise XmgError(f"{file.path} has no columns. fix: extract it from a manifest with {key!r}")
    chosen(str(file.path), file.columns, key, key)
    return file.texts(f"columns/{key}")


def _example(values: list[str]) -> str:
    return repr(next((value for value in values if value), ""))
