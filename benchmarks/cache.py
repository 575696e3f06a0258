"""Reading and writing feature files, against h5py, a plain copy and `dd`.

    python benchmarks/cache.py [gather] [cold] [copy] [scale] [write] [--folder FOLDER]

All sections by default, each with its ratios: medians of alternating rounds after a warm-up
round, fresh random rows each time. Episodes are 5-way with 15 queries a class, of float16
features. FOLDER chooses the disk; it needs 15 GB, and all files are removed at the end.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py
import machine
import numpy as np
import sparse_file
import torch
from machine import medians, rate, seconds

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing
from xmg.engine.data.episodes import draw_tasks
from xmg.engine.data.fetch import fetch_stored
from xmg.engine.data.pool import Pool, pool_of

SPEC = FeatureSpec(dataset="random", encoder="", weights_sha256="", preprocessing={}, versions={})
N_WAY, N_QUERY, N_CLASSES = 5, 15, 100
N_ROWS = N_WAY * (5 + N_QUERY)  # of a 5-shot episode


class Size(NamedTuple):
    """How much is measured; the tests run everything at TOY."""

    dims: Sequence[int] = (512, 2048)
    rounds: int = 5
    episodes: int = 1000  # a round from memory; a peer gets as many as take about as long
    cold_bytes: Sequence[int] = (80 << 20, 800 << 20, 6 << 30)
    cold_episodes: Sequence[int] = (200, 2000)
    copy_bytes: int = 256 << 20
    rows: Sequence[int] = (10**4, 10**9)
    indexed: int = 10**6  # rows of each class that is drawn from
    repeated: int = 200  # episodes
    write_rounds: int = 11
    write_bytes: int = 3 << 29
    put: int = 2048  # rows
    reads: int = 2000


TOY = Size((3, 8), 1, 5, (4 << 20,), (3, 6), 1 << 20, (10**4, 10**7), 10**3, 2, 1, 1 << 20, 100, 50)


def make_file(path: Path, n_bytes: int, dim: int) -> FeatureFile:
    """A file of about so many bytes of random float16 features, in N_CLASSES classes."""
    n = max(n_bytes // (2 * dim), 30 * N_CLASSES)
    listing = Listing([str(i) for i in range(n)], [f"c{i % N_CLASSES:03d}" for i in range(n)])
    block = np.random.default_rng(0).normal(size=(8192, dim)).astype(np.float16)
    with FeatureWriter(path, SPEC, listing, dim) as writer:
        for first in range(0, n, len(block)):
            writer.put(first, block[: n - first])
    return FeatureFile(path)


def draw(pool: Pool, k_shot: int, first: int, n: int, each: int = 1) -> list[np.ndarray]:
    """Rows of n batches of `each` episodes, support and query, in the order of drawing."""
    shape = (each, N_WAY, k_shot, N_QUERY)
    drawn = (draw_tasks(pool, np.uint64(k_shot), (first + i) * each, shape) for i in range(n))
    return [np.concatenate([s.ravel(), q.ravel()]) for s, q in drawn]


def by_h5py(features: h5py.Dataset) -> Callable[[np.ndarray], object]:
    def read(rows: np.ndarray) -> object:
        order = np.argsort(rows)  # h5py wants increasing rows
        return features[rows[order]][np.argsort(order)]

    return read


def gather(folder: Path, size: Size) -> None:
    """Episodes a second from the page cache, against h5py on the same file and on gzip chunks."""
    for dim in size.dims:
        file = make_file(folder / "gather.h5", 80 << 20 if size is not TOY else 0, dim)
        pool = pool_of(file, file.classes)
        with h5py.File(folder / "gzip.h5", "w") as h5:
            h5.create_dataset("features", data=file.features, chunks=True, compression="gzip")
        for k_shot in (1, 5):
            _gather(file, folder / "gzip.h5", pool, k_shot, size)


def _gather(file: FeatureFile, gzip: Path, pool: Pool, k_shot: int, size: Size) -> None:
    out = torch.empty(N_WAY * (k_shot + N_QUERY), file.dim, dtype=torch.float16)
    drawn = iter(range(10**9))

    def measure(read: Callable[[np.ndarray], object], share: int) -> Callable[[int], float]:
        n = max(size.episodes // share, 2)
        return lambda _: rate(read, draw(pool, k_shot, next(drawn) * n, n))

    with h5py.File(file.path) as whole, h5py.File(gzip) as chunks:
        found = medians(
            size.rounds,
            {
                "xmg": measure(lambda rows: fetch_stored(file, rows), 1),
                "into a buffer": measure(lambda rows: fetch_stored(file, rows, out), 1),
                "h5py": measure(by_h5py(whole["features"]), 10),
                "gzip": measure(by_h5py(chunks["features"]), 500),
            },
        )
    ours = found["xmg"]
    print(
        f"{file.dim}-d, {k_shot}-shot: xmg {ours:,.0f} episodes/s (into one buffer "
        f"{found['into a buffer']:,.0f}), h5py {found['h5py']:,.0f}, on gzip chunks "
        f"{found['gzip']:.1f}: ratios {ours / found['h5py']:.1f} and {ours / found['gzip']:,.0f}"
    )


def cold(folder: Path, size: Size) -> None:
    """The same with nothing in the page cache, beside the limits of the disk."""
    print("the page cache is emptied of the file by posix_fadvise(DONTNEED), with no map open")
    path, dim = folder / "cold.h5", size.dims[-1]
    for n_bytes in size.cold_bytes:
        make_file(path, n_bytes, dim)
        machine.drop(path)
        sequential, one, many = machine.disk_limits(path, size.reads)
        print(
            f"{dim}-d, 5-shot, {n_bytes / 2**20:,.0f} MiB: the disk reads {sequential / 1e9:.2f} "
            f"GB/s in sequence, {one:,.0f} pages/s at random and {many:,.0f} with 32 at a time"
        )
        for n in size.cold_episodes:
            if n * n_bytes <= 2000 << 30:  # h5py would take many minutes
                _cold(path, n, size.rounds, max(many / N_ROWS, n * sequential / n_bytes))


def _cold(path: Path, n: int, rounds: int, limit: float) -> None:
    file = FeatureFile(path)
    pool = pool_of(file, file.classes)
    episodes = [draw(pool, 5, r * n, n) for r in range(rounds + 1)]
    del file, pool  # pages of a map cannot be dropped
    found = medians(
        rounds,
        {
            "xmg": lambda r: _cold_rate(path, episodes[r]),
            "h5py": lambda r: _cold_h5py(path, episodes[r]),
        },
    )
    print(
        f"  first {n:,} episodes: xmg {found['xmg']:,.0f}/s, h5py {found['h5py']:,.0f}/s, ratio "
        f"{found['xmg'] / found['h5py']:.1f}; the disk, all at random or all in sequence, "
        f"{limit:,.0f}/s, {limit / found['h5py']:.1f}"
    )


def _cold_rate(path: Path, episodes: list[np.ndarray]) -> float:
    _forget(path)
    return rate(partial(fetch_stored, FeatureFile(path)), episodes)


def _cold_h5py(path: Path, episodes: list[np.ndarray]) -> float:
    _forget(path)
    with h5py.File(path) as h5:
        return rate(by_h5py(h5["features"]), episodes)


def _forget(path: Path) -> None:
    machine.drop(path)
    machine.touch(path.stat().st_size)


def copy(folder: Path, size: Size) -> None:
    """Batches of 32 episodes in GB/s, against copying as many bytes that lie in a row."""
    for dim in size.dims:
        file = make_file(folder / "copy.h5", size.copy_bytes, dim)
        pool = pool_of(file, file.classes)
        for k_shot in (1, 5):
            _copy(file, pool, k_shot, size)


def _copy(file: FeatureFile, pool: Pool, k_shot: int, size: Size) -> None:
    n_rows, n = 32 * N_WAY * (k_shot + N_QUERY), max(size.episodes // 10, 2)
    out, table = torch.zeros(n_rows, file.dim, dtype=torch.float16), file.features
    starts = np.random.default_rng(0).integers(0, len(table) - n_rows, (size.rounds + 1, n))
    gigabytes = n_rows * file.dim * 2 / 1e9

    def ours(threads: int) -> Callable[[int], float]:
        read = lambda rows: fetch_stored(file, rows, out, threads)  # noqa: E731
        return lambda r: gigabytes * rate(read, draw(pool, k_shot, (r + 10 * threads) * n, n, 32))

    def plain(threads: int) -> Callable[[int], float]:
        read = lambda at: machine.copy(table[at : at + n_rows], out.numpy(), threads)  # noqa: E731
        return lambda r: gigabytes * rate(read, list(starts[r]))

    many = machine.cores()
    contestants = {"one": ours(1), "copy": plain(1), "all": ours(many), "copies": plain(many)}
    found = medians(size.rounds, contestants)
    print(
        f"{file.dim}-d, {k_shot}-shot, {gigabytes * 1e3:.0f} MB: one thread {found['one']:.1f} of "
        f"{found['copy']:.1f} GB/s, ratio {found['one'] / found['copy']:.2f}; {many} threads "
        f"{found['all']:.1f} of {found['copies']:.1f} GB/s, ratio "
        f"{found['all'] / found['copies']:.2f}; best of either, ratio "
        f"{max(found['one'], found['all']) / max(found['copy'], found['copies']):.2f}"
    )


def scale(folder: Path, size: Size) -> None:
    """Opening a file and building an episode, at ten thousand and at a billion rows."""
    paths = [folder / f"{n}.h5" for n in size.rows]
    for path, n in zip(paths, size.rows, strict=True):
        sparse_file.make(
            path, n, 512, sparse_file.CLASSES, min(size.indexed, n // sparse_file.CLASSES)
        )
    found: dict[str, list[float]] = {name: [] for name in sparse_file.PARTS}
    for path in paths:
        for name, value in sparse_file.measure(path, size.repeated).items():
            found[name].append(value)
    print(f"files of {' and '.join(f'{path.stat().st_size:,}' for path in paths)} bytes")
    for name, values in found.items():
        times = " and ".join(f"{1e6 * value:,.0f}" for value in values)
        print(f"{name}: {times} us, ratio {values[-1] / values[0]:.2f}")


def write(folder: Path, size: Size) -> None:
    """Filling a feature file, against `dd` of as many bytes from the page cache."""
    dim = size.dims[-1]
    n = size.write_bytes // (2 * dim)
    listing = Listing([str(i) for i in range(n)], [f"c{i % N_CLASSES:03d}" for i in range(n)])
    rows = np.random.default_rng(0).normal(size=(64 * size.put, dim)).astype(np.float16)
    with open(folder / "source", "wb") as source:
        for first in range(0, n, len(rows)):
            source.write(rows[: n - first].data)

    def ours(_: int) -> float:
        def fill() -> None:
            with FeatureWriter(folder / "written.h5", SPEC, listing, dim) as writer:
                for first in range(0, n, size.put):
                    at = first % len(rows)
                    writer.put(first, rows[at : at + min(size.put, n - first)])

        return _written(folder / "written.h5", fill, size.write_bytes)

    def dd(_: int) -> float:
        target = folder / "copied"
        command = ["dd", f"if={folder / 'source'}", f"of={target}", "bs=4M", "conv=fsync"]
        run = partial(subprocess.run, command, check=True, capture_output=True)
        return _written(target, run, size.write_bytes)

    found = medians(size.write_rounds, {"xmg": ours, "dd": dd})
    total = n * dim * 2 / 1e9
    print(
        f"{total:.1f} GB in puts of {size.put:,} rows of {dim}-d: xmg "
        f"{total / found['xmg']:.2f} GB/s, dd {total / found['dd']:.2f} GB/s, "
        f"ratio {found['dd'] / found['xmg']:.2f}"
    )


def _written(path: Path, fill: Callable[[], object], n_bytes: int) -> float:
    path.unlink(missing_ok=True)
    os.sync()
    machine.touch(n_bytes)
    return seconds(fill)


SECTIONS = {"gather": gather, "cold": cold, "copy": copy, "scale": scale, "write": write}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sections", nargs="*", help=" ".join(SECTIONS))
    parser.add_argument("--folder", type=Path, help="where to put files for a while")
    chosen = parser.parse_args()
    if unknown := set(chosen.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    print(machine.about())
    for name in chosen.sections or SECTIONS:
        folder = Path(tempfile.mkdtemp(dir=chosen.folder, prefix="xmg-benchmark-"))
        try:
            print(f"\n{name}: {SECTIONS[name].__doc__}", flush=True)
            SECTIONS[name](folder, Size())
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
