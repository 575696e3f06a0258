"""Episodes a second: our gather from the memory map against h5py's fancy indexing.

    python benchmarks/gather.py

Both read the same file and the same rows, fresh for each episode: 5-way, 5-shot, 15 queries of
2048-d float16. Prints the median of five alternating rounds each, and the ratio.
"""

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing
from xmg.engine.episodes import draw_tasks
from xmg.engine.pool import fetch_stored, pool_of

N_CLASSES, N_SAMPLES, DIM = 100, 200, 2048
SHAPE = (1, 5, 5, 15)
ROUNDS, EPISODES = 5, 200


def make_file(path: Path) -> FeatureFile:
    labels = [f"class{c:03d}" for c in range(N_CLASSES) for _ in range(N_SAMPLES)]
    listing = Listing([str(i) for i in range(len(labels))], labels)
    spec = FeatureSpec(
        dataset="random", encoder="", weights_sha256="", preprocessing={}, versions={}
    )
    rng = np.random.default_rng(0)
    with FeatureWriter(path, spec, listing, DIM) as writer:
        writer.put(0, rng.normal(size=(len(labels), DIM)))
    return FeatureFile(path)


def rate(read: Callable[[np.ndarray], object], episodes: list[np.ndarray]) -> float:
    began = time.perf_counter()
    for rows in episodes:
        read(rows)
    return len(episodes) / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = make_file(Path(folder) / "random.h5")
        pool = pool_of(file, file.classes)
        with h5py.File(file.path) as h5:
            features = h5["features"]

            def peer(rows: np.ndarray) -> object:
                order = np.argsort(rows)  # h5py wants increasing rows
                return features[rows[order]][np.argsort(order)]

            found: dict[str, list[float]] = {"xmg": [], "h5py": []}
            fetch_stored(file, np.arange(3))  # compile
            for r in range(ROUNDS):
                key = np.uint64(r)
                tasks = [draw_tasks(pool, key, i, SHAPE) for i in range(EPISODES)]
                episodes = [np.concatenate([s.ravel(), q.ravel()]) for s, q in tasks]
                found["xmg"].append(rate(lambda rows: fetch_stored(file, rows), episodes))
                found["h5py"].append(rate(peer, episodes))
    ours, theirs = (statistics.median(found[name]) for name in ("xmg", "h5py"))
    print(f"{platform.processor() or platform.machine()}, h5py {h5py.__version__}, warm page cache")
    print(f"xmg {ours:,.0f}/s, h5py fancy indexing {theirs:,.0f}/s, ratio {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
