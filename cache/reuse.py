"""What a feature file and a new listing have in common, and what they don't."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from xmg.cache.errors import XmgError
from xmg.cache.identity import FeatureSpec, Listing, differences
from xmg.cache.read import FeatureFile, decode

_ELSE: Final = (
    "rejected inputs have changed, or the inputs come in another order, or with other columns"
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids by what happened to them since the file was written."""

    new: Sequence[str]
    gone: Sequence[str]
    changed: Sequence[str]  # other content
    relabelled: Sequence[str]

    def __str__(self) -> str:
        """Such as `2 inputs are new ('a', ...), 1 is gone ('b')`."""
        said = [
            f"{len(ids):,} input{'s are' if len(ids) > 1 else ' is'} {what} "
            f"({ids[0]!r}{', ...' if len(ids) > 1 else ''})"
            for what, ids in (
                ("new", self.new),
                ("gone", self.gone),
                ("changed", self.changed),
                ("labelled otherwise", self.relabelled),
            )
            if ids
        ]
        return ", ".join(said) or _ELSE


def changes(former: FeatureFile, listing: Listing) -> Changes:
    """Compare the inputs of a file, its rejects included, with those listed now."""
    row = known_ids(former)
    rejected = {name for name, _ in former.rejects}
    listed = set(listing.ids)
    rows = [row.get(name, -1) for name in listing.ids]
    same = _same_content(former, listing, np.array(rows, np.int64))
    labels = former.class_names()
    kept = [
        (name, r, i) for i, (name, r) in enumerate(zip(listing.ids, rows, strict=True)) if r >= 0
    ]
    return Changes(
        new=[name for name in listing.ids if name not in row and name not in rejected],
        gone=[name for name in [*row, *sorted(rejected)] if name not in listed],
        changed=[name for name, _, i in kept if not same[i]],
        relabelled=[name for name, r, i in kept if labels[r] != listing.labels[i]],
    )


def known_rows(former: FeatureFile, listing: Listing) -> npt.NDArray[np.int64]:
    """(N,) row of `former` that holds the features of each listed input, or -1."""
    row = known_ids(former)
    rows = np.array([row.get(name, -1) for name in listing.ids], np.int64)
    return np.where(_same_content(former, listing, rows), rows, -1)


def known_ids(file: FeatureFile) -> dict[str, int]:
    """Row of each id."""
    return {name: i for i, name in enumerate(decode(file.ids))}


def refuse_others(former: FeatureFile, spec: FeatureSpec, dtype: str, fix: str) -> None:
    """Raise XmgError where the file's spec or dtype differ, saying how."""
    found = {**asdict(former.spec), "dtype": former.dtype.name}
    which = differences(found, {**asdict(spec), "dtype": dtype})
    if which:
        raise XmgError(f"{former.path} holds other features: {which}.\nfix: {fix}")


def _same_content(
    former: FeatureFile, listing: Listing, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """(N,) whether listed input i is known to hold what row rows[i] was made from."""
    if not len(former.contents) or not len(listing.contents):
        return np.zeros(len(rows), np.bool_)
    same = (former.contents[rows] == listing.contents).all(1)
    known: npt.NDArray[np.bool_] = same & (rows >= 0) & (listing.contents != 0).any(1)
    return known
