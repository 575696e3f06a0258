"""Meta-iterations a second of the inner solvers, against other loops that take the same steps.

    python benchmarks/engine.py

One thread, data in memory; heads 512 -> 256 and 2048 -> 256, five steps on the alignment task and
five on the 5-way classification task of an episode, InfoNCE with 16 negatives a step. Medians
of rounds in changing order, after a warm-up round; in a round each has 0.2 seconds or more, in a
process of its own. Ratios are of the same round.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import contest
import machine
import numpy as np
import torch
from contest import (
    N_NEGATIVES,
    N_STEPS,
    N_WAY,
    PAIRS,
    YARDSTICK,
    Size,
    episodes,
    settings,
    theta_of,
)

from xmg.cache import FeatureFile, FeatureSpec, FeatureWriter, Listing
from xmg.cache.ranks import Ranks
from xmg.engine.compute import Each, flushed_denormals, one_thread_each
from xmg.engine.config import make_config
from xmg.engine.data.problem import open_problem
from xmg.engine.inner.choose import SOLVERS, Solver
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.kernels import product
from xmg.engine.losses.objectives import Classification
from xmg.engine.methods.croma import CROMA
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.model.heads import Linear, Theta
from xmg.engine.run import State
from xmg.engine.training import advance
from xmg.engine.training.meta_learn import meta_iteration
from xmg.engine.training.starts import aligned

BATCH = 32  # tasks of a meta-iteration where threads share them


def tile_rate() -> float:
    """Floating-point operations a second of one thread's product of xmg's own, all in cache."""
    x, y = np.ones((product.BLOCK, 256), np.float32), np.ones((product.BLOCK, 256), np.float32)
    to = np.zeros((256, product.skewed(256)), np.float32)
    call = lambda: product.add_product(x, y, 0, len(y), 256, to)  # noqa: E731
    return float(2 * x.size * 256 / min(machine.seconds(call) for _ in range(1000)))


def bounds(size: Size, k_shot: int) -> dict[str, float]:
    """Meta-iterations a second if products ran at the machine's best rate, and if steps of Adam
    ran at that of a pass over weights in its cache, one after the other."""
    multiply, move = max(machine.multiply_rate(), tile_rate()), machine.pass_rate()
    n, r = PAIRS[k_shot], PAIRS[k_shot] + N_NEGATIVES
    shots, span = N_WAY * k_shot, PAIRS[k_shot] + N_STEPS * N_NEGATIVES
    inputs = n * size.source + r * size.target + shots * size.source  # a step's, of all heads
    weights = size.width * (2 * size.source + size.target)
    direct = 4 * N_STEPS * inputs * size.width / multiply
    adam = N_STEPS * weights * 6 * 4 / move  # three read, three written
    once = 4 * (span * size.target + (n + shots) * size.source) * size.width
    gram = span**2 * size.target + (n**2 + shots**2) * size.source
    steps = 2 * N_STEPS * (r * span + n * n + shots * shots) * size.width
    return {
        "bound, Adam": 1 / (direct + adam),
        "bound, span": multiply / (once + gram + steps),
    }


def threads(size: Size, kind: str) -> tuple[float, float]:
    """Tasks a second at 5 shots in batches of 32, by one thread and by two."""
    config = settings(kind, meta_batch=BATCH)
    data = (episodes(size, 5) * BATCH)[:BATCH]  # over and over

    def rate(each: Each) -> Callable[[int], float]:
        theta, numbers = theta_of(size), range(3)
        run = lambda i: meta_iteration(theta, {}, data, CROMA.stages, config, i, each)  # noqa: E731
        return lambda _: len(data) * machine.rate(run, numbers, size.turn)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with flushed_denormals(), one_thread_each(BATCH) as each:
            found = machine.medians(size.rounds, {"one": rate(map), "two": rate(each)})
    finally:
        torch.set_num_threads(before)
    return found["one"], found["two"]


def crossover(size: Size) -> list[tuple[str, float]]:
    """How much faster span is than direct where a step of SGD reads all rows, by rows per input;
    `auto` takes span up to a seventh."""
    optimizer, found = Optimizer("sgd", 1e-3), []
    for part in (12, 8, 6, 4, 3):
        rows = torch.randn(max(1, size.target // part), size.target)
        labels = torch.zeros(N_STEPS, len(rows), dtype=torch.int64)
        heads = {"target": Linear()}
        phase = Phase(heads, {"target": rows}, {}, Classification(labels, 0.1, "target"))
        theta = {"target": torch.randn(size.target, size.width), "phi": torch.zeros(size.width, 5)}

        def seconds(solver: Solver, phase: Phase, theta: Theta, _: int) -> float:
            return machine.seconds(partial(solver, theta, phase, N_STEPS, optimizer, {}))

        times = {n: partial(seconds, SOLVERS[n], phase, theta) for n in ("direct", "span")}
        with flushed_denormals(), one_thread_each(1):
            took = machine.medians(size.rounds, times)
        found.append((f"1/{part}", took["direct"] / took["span"]))
    return found


def share(folder: Path, iterations: int = 100) -> float:
    """How much of meta-training's wall time, at the default settings, passes in meta-iterations."""
    rng = np.random.default_rng(0)
    files = [write(folder / f"{side}.h5", rng, d) for side, d in (("s", 512), ("t", 2048))]
    config = make_config(source=files[0].path, target=files[1].path, iterations=iterations)
    problem = open_problem(config)
    fronts = fit_fronts(problem.train, config.front_width)[0]
    theta = aligned(problem.train, fronts, config)
    inside = 0.0

    def timed(*arguments: object) -> object:
        nonlocal inside
        began = time.perf_counter()
        found = original(*arguments)
        inside += time.perf_counter() - began
        return found

    original, advance.meta_iteration = meta_iteration, timed  # type: ignore[assignment]
    try:
        with flushed_denormals():
            state = State(theta, {}, fronts, 0, 0.0, 0)
            with advance.advancing(problem.train, state, CROMA.stages, config, Ranks()) as steps:
                next(steps)
                inside, began = 0.0, time.perf_counter()
                for _ in steps:
                    pass
                return inside / (time.perf_counter() - began)
    finally:
        advance.meta_iteration = original


def write(path: Path, rng: np.random.Generator, dim: int) -> FeatureFile:
    """64 classes of 40 rows."""
    names = [f"c{c}" for c in range(64) for _ in range(40)]
    listing = Listing([f"i{i}" for i in range(len(names))], names, {})
    spec = FeatureSpec(
        dataset="random", encoder="none", weights_sha256="", preprocessing={}, versions={}
    )
    with FeatureWriter(path, spec, listing, dim) as writer:
        writer.put(0, rng.normal(size=(len(names), dim)).astype(np.float32))
    return FeatureFile(path)


def table(size: Size, shots: Sequence[int] = tuple(PAIRS)) -> str:
    """All contestants, with the ratio to the yardstick, and the bounds."""
    found = {k: contest.measure(size, k) for k in shots}
    for k, values in found.items():
        values |= {name: [bound] * size.rounds for name, bound in bounds(size, k).items()}
    heads = " | ".join(f"{k}-shot" for k in shots)
    lines = [f"| meta-iterations/s | {heads} | ratios |", "|---" * (len(shots) + 2) + "|"]
    for name in found[shots[0]]:
        rates = [median(found[k][name]) for k in shots]
        ratios = [
            median(a / b for a, b in zip(found[k][name], found[k][YARDSTICK], strict=True))
            for k in shots
        ]
        cells = [f"{r:.0f}" for r in rates] + [" / ".join(f"{r:.1f}" for r in ratios)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(machine.about())
    print(table(Size()))
    for kind in ("adam", "sgd"):
        one, two = threads(Size(), kind)
        print(f"{kind}, batches of {BATCH}: {one:.0f} and {two:.0f} tasks/s, ratio {two / one:.2f}")
    ratios = ", ".join(f"{ratio:.2f} at {part}" for part, ratio in crossover(Size()))
    print(f"span's speed as a multiple of direct's, by rows per input: {ratios}")
    with TemporaryDirectory() as place:
        print(f"share of meta-training's time in meta-iterations: {share(Path(place)):.1%}")
