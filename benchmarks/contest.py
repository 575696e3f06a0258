"""Loops that meta-train, side by side, each in a process of its own.

What another has left of a process's memory decides how fast plain PyTorch is there: a C library
that gives freed memory back has to fetch it again for each gradient.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from unittest.mock import patch

import loops
import machine
import torch

from xmg.engine.compute import flushed_denormals, one_thread_each
from xmg.engine.config import Config, make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.methods.croma import CROMA
from xmg.engine.training.meta_learn import meta_iteration

N_NEGATIVES, N_WAY, N_STEPS = 16, 5, 5
PAIRS = {1: 4, 5: 8, 10: 16}  # by shots, as in the CROMA paper
YARDSTICK = "plain PyTorch, fused Adam"
KEPT = f"{YARDSTICK}; freed memory kept"


class Size(NamedTuple):
    """How much is measured; the tests run everything at TOY."""

    source: int = 512
    target: int = 2048
    width: int = 256
    rounds: int = 15
    iterations: int = 15  # on episodes that differ, again and again
    turn: float = 0.2  # seconds, at least, of a contestant in a round


TOY = Size(6, 8, 4, 1, 2, 0.0)


def episodes(size: Size, k_shot: int) -> list[Episode]:
    """Whitened episodes of random rows, all different."""
    rng = torch.Generator().manual_seed(k_shot)
    n = PAIRS[k_shot]
    labels = torch.arange(N_WAY).repeat_interleave(k_shot)

    def rows(n: int, d: int) -> torch.Tensor:
        return torch.randn(n, d, generator=rng)

    return [
        Episode(
            rows(n, size.source),
            rows(n + N_STEPS * N_NEGATIVES, size.target),
            rows(N_WAY * k_shot, size.source),
            labels,
            n,
        )
        for _ in range(size.iterations)
    ]


def theta_of(size: Size) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "source": torch.randn(size.source, size.width, generator=rng) / size.source**0.5,
        "target": torch.randn(size.target, size.width, generator=rng) / size.target**0.5,
        "phi": torch.zeros(size.width, N_WAY),
    }


def settings(kind: str, **further: object) -> Config:
    return make_config(
        source="s.h5", target="t.h5", n_way=N_WAY, optimizer=kind, negatives="step",
        n_negatives=N_NEGATIVES, inner_steps=N_STEPS, **further,
    )  # fmt: skip


def ours(config: Config) -> loops.Run:
    return lambda theta, episode: meta_iteration(theta, {}, [episode], CROMA.stages, config)


def _released(data: list[Episode], folder: Path) -> loops.Run:
    del data[1:]  # a file for each sample, and a loop slow enough to need no others
    return loops.loaded(settings("adam"), folder, data)


CONTESTANTS: dict[str, Callable[[list[Episode], Path], loops.Run]] = {
    "the released code's style: loaders over .npy": _released,
    "a meta-learning library's style: modules, deepcopy": lambda *_: loops.cloned(settings("adam")),
    YARDSTICK: lambda *_: loops.plain(settings("adam")),
    KEPT: lambda *_: loops.plain(settings("adam")),
    "plain PyTorch, fused SGD": lambda *_: loops.plain(settings("sgd")),
    "xmg, Adam (direct)": lambda *_: ours(settings("adam")),
    "xmg, SGD (direct)": lambda *_: ours(settings("sgd", solver="direct")),
    "xmg, SGD (span)": lambda *_: ours(settings("sgd")),
}


def measure(size: Size, k_shot: int) -> dict[str, list[float]]:
    """Meta-iterations a second by contestant, in each round."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        began = {n: stack.enter_context(_started(n, size, k_shot, folder)) for n in CONTESTANTS}
        return machine.measured(size.rounds, {n: partial(_turn, c) for n, c in began.items()})


@contextmanager
def _started(name: str, size: Size, k_shot: int, folder: Path) -> Iterator[Connection]:
    """A contestant's process, which runs a round for whatever is sent to it."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(there, name, size, k_shot, folder))
    with patch.dict(os.environ, machine.KEEP if name == KEPT else {}):
        process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join()


def _turn(contestant: Connection, _: int) -> float:
    contestant.send(None)
    return float(contestant.recv())


def _serve(link: Connection, name: str, size: Size, k_shot: int, folder: Path) -> None:
    data, theta = episodes(size, k_shot), theta_of(size)
    run = CONTESTANTS[name](data, folder)
    torch.set_num_threads(1)
    with flushed_denormals(), one_thread_each(1):
        while True:
            try:
                link.recv()
            except EOFError:
                return
            link.send(machine.rate(lambda episode: run(theta, episode), data, size.turn))
