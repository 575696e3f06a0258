"""A feature file for other programs: NumPy with a CSV, Parquet, Arrow; the format by the suffix."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from xmg.cache.errors import XmgError
from xmg.cache.exchange.arrow import RESERVED as ARROW_NAMES
from xmg.cache.exchange.arrow import pyarrow, write_arrow
from xmg.cache.exchange.npy import RESERVED as CSV_NAMES
from xmg.cache.exchange.npy import write_npy, write_rows
from xmg.cache.outputs import appearing, check_free
from xmg.cache.read import FeatureFile
from xmg.cache.write import Notify

ARROW_SUFFIXES: Final = (".parquet", ".arrow", ".feather")
SUFFIXES: Final = (".npy", *ARROW_SUFFIXES)


def export(
    file: FeatureFile,
    out: Path,
    *,
    overwrite: bool = False,
    notify: Notify = lambda message: None,
) -> list[Path]:
    """Write what a file holds in another format; returns the paths written.

    .npy: the features (N, D), or the frames (T, D) of sequences, and beside it a .csv with id,
    label, n_frames of sequences, and further columns. .parquet, .arrow and .feather: one table,
    with what made the features in the schema's metadata. A further column called like one of
    ours gets an underscore, which `notify` is told. Files appear whole or not at all.
    Raises XmgError for another suffix, where a file is there already and overwrite is false,
    where pyarrow is missing, or where the disk refuses.
    """
    suffix = suffix_of(out)
    paths = [out] if suffix != ".npy" else [out, table_of(out)]
    check_free(paths, overwrite)
    columns = _columns(file, CSV_NAMES if suffix == ".npy" else ARROW_NAMES, notify)
    if suffix != ".npy":
        pyarrow()  # before anything is written
    with ExitStack() as stack:
        streams = [stack.enter_context(appearing(path)) for path in paths]
        if suffix == ".npy":
            write_npy(file, streams[0])
            write_rows(file, columns, streams[1])
        else:
            write_arrow(file, columns, streams[0], parquet=suffix == ".parquet")
    return paths


def suffix_of(path: Path) -> str:
    """The suffix of a format that we know; raises XmgError for another."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return suffix
    raise XmgError(f"{path} ends in none of {', '.join(SUFFIXES)}, which say the format")


def table_of(path: Path) -> Path:
    """Where the ids and labels of an .npy lie."""
    return path.with_suffix(".csv")


def _columns(file: FeatureFile, reserved: Sequence[str], notify: Notify) -> dict[str, str]:
    """Name in the other format of each further column."""
    names = file.columns
    taken = {*names, *reserved}
    found = {}
    for name in names:
        renamed = name
        while name in reserved and renamed in taken:
            renamed += "_"
        if renamed != name:
            notify(f"the column {name!r} is called {renamed!r} there")
        taken.add(renamed)
        found[name] = renamed
    return found
