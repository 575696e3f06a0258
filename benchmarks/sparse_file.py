"""A feature file of any number of rows that takes little of the disk, and what it costs to use."""

import os
import statistics
import time
from pathlib import Path

import numpy as np

from xmg.cache import FeatureFile, layout
from xmg.cache.writing.assemble import attributes_of
from xmg.cache.writing.journal import Plan
from xmg.cache.writing.skeleton import skeleton
from xmg.engine.data.episodes import draw_tasks
from xmg.engine.data.fetch import fetch_stored
from xmg.engine.data.pool import Pool, pool_of

CLASSES = 64
SHAPE = (1, 5, 5, 15)
PARTS = ("opening", "pool", "first episode of a map", "draw", "draw and gather")


def make(path: Path, n: int, dim: int, n_classes: int, per_class: int) -> None:
    """A file of n rows of zeros; n_classes classes of per_class rows each, spread over all n.

    Only the classes and their index are written; the rest are holes, which read as zeros.
    """
    spec = {"dataset": "sparse", "encoder": "", "weights_sha256": ""}
    plan = Plan("", n, dim, "float16", False, {**spec, "preprocessing": {}, "versions": {}}, 0)
    length = n_classes * per_class
    classes = layout.utf8([f"c{c:03d}" for c in range(n_classes)])
    written, extents = skeleton("features", _shapes(n, dim, length, classes), attributes_of(plan))
    with open(path, "wb") as file:
        file.truncate(written.size)
        for at, data in written.pieces:
            os.pwrite(file.fileno(), data, at)
        tables = {
            "classes": classes,
            "class_index/offsets": np.arange(0, length + 1, per_class),
            "class_index/rows": _spread(n, n_classes, per_class),
        }
        for name, values in tables.items():
            file.seek(extents[name][0])
            values.tofile(file)


def _shapes(
    n: int, dim: int, length: int, classes: layout.Array
) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    text, number = np.dtype("S1"), np.dtype("<i8")
    return {
        "features": ((n, dim), np.dtype("<f2")),
        "ids": ((n,), np.dtype("S10")),
        "labels": ((n,), np.dtype("<i4")),
        "classes": (classes.shape, classes.dtype),
        "class_index/offsets": ((len(classes) + 1,), number),
        "class_index/rows": ((length,), number),
        "contents": ((0, 2), np.dtype("<u8")),
        "rejects/id": ((0,), text),
        "rejects/reason": ((0,), text),
    }


def _spread(n: int, n_classes: int, per_class: int) -> np.ndarray:
    """Row numbers class by class: class c has c, c + s, c + 2 s, ..., a stride over the whole."""
    stride = n // per_class
    return np.concatenate([np.arange(per_class) * stride + c for c in range(n_classes)])


def measure(path: Path, n_maps: int) -> dict[str, float]:
    """Median seconds of each part, with the rows in the page cache.

    Every map serves its first episode, and then `n_maps` episodes twice, of which the second time
    counts: a page that a map has not met costs the same in any file, but a small file has few.
    """
    found: dict[str, list[float]] = {name: [] for name in PARTS}
    for first in range(0, 6 * n_maps, n_maps):
        for name, values in zip(PARTS, _life(path, range(first, first + n_maps)), strict=True):
            found[name] += values
    return {name: statistics.median(values[len(values) // 6 :]) for name, values in found.items()}


def _life(path: Path, episodes: range) -> tuple[list[float], ...]:
    began = time.perf_counter()
    file = FeatureFile(path)
    opened = time.perf_counter()
    pool = pool_of(file, file.classes)
    listed = time.perf_counter()
    times = [_episode(file, pool, i) for i in [*episodes, *episodes]]
    draws, gathers = zip(*times[len(episodes) :], strict=True)
    both = [sum(pair) for pair in zip(draws, gathers, strict=True)]
    return [opened - began], [listed - opened], [sum(times[0])], list(draws), both


def _episode(file: FeatureFile, pool: Pool, i: int) -> tuple[float, float]:
    began = time.perf_counter()
    support, query = draw_tasks(pool, np.uint64(7), i, SHAPE)
    drawn = time.perf_counter()
    fetch_stored(file, np.concatenate([support.ravel(), query.ravel()]))
    return drawn - began, time.perf_counter() - drawn
