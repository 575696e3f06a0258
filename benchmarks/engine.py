"""Meta-iterations a second of the inner solvers, against other loops that take the same steps.

    python benchmarks/engine.py

One thread, data in memory; heads 512 -> 256 and 2048 -> 256, five steps on the alignment task and
five on the 5-way classification task of an episode, InfoNCE with 16 negatives a step. Medians
of alternating rounds after a warm-up round.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import machine
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.compute import flushed_denormals, one_thread_each
from xmg.engine.config import Config, make_config
from xmg.engine.inputs import Episode
from xmg.engine.methods import croma

N_NEGATIVES, N_WAY, N_STEPS = 16, 5, 5
PAIRS = {1: 4, 5: 8, 10: 16}  # by shots, as in the CROMA paper


class Size(NamedTuple):
    """How much is measured; the tests run everything at TOY."""

    source: int = 512
    target: int = 2048
    width: int = 256
    rounds: int = 5
    iterations: int = 15  # a round


TOY = Size(6, 8, 4, 1, 2)
Run = Callable[[dict[str, Tensor], Episode], object]


def episodes(size: Size, k_shot: int) -> list[Episode]:
    """Whitened episodes of random rows, all different."""
    rng = torch.Generator().manual_seed(k_shot)
    n = PAIRS[k_shot]

    def rows(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng)

    return [
        Episode(
            rows(n, size.source),
            rows(n + N_STEPS * N_NEGATIVES, size.target),
            rows(N_WAY * k_shot, size.source),
            torch.arange(N_WAY).repeat_interleave(k_shot),
            n,
        )
        for _ in range(size.iterations)
    ]


def theta_of(size: Size) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {
        "source": torch.randn(size.source, size.width, generator=rng) / size.source**0.5,
        "target": torch.randn(size.target, size.width, generator=rng) / size.target**0.5,
        "phi": torch.zeros(size.width, N_WAY),
    }


def plain(config: Config) -> Run:
    """The yardstick: PyTorch with a fused optimizer, no clone of the model, no other overhead.

    theta is kept aside, the parameters train in place and the meta-update mixes both.
    """

    def run(theta: dict[str, Tensor], episode: Episode) -> None:
        kept = {name: value.clone() for name, value in theta.items()}
        source, target, phi = (theta[name].requires_grad_() for name in ("source", "target", "phi"))
        optimizer = _fused(config.optimizer, [source, target], config.align_rate)
        first = torch.zeros(len(episode.source), dtype=torch.int64)
        pairs, *negatives = episode.target.split_with_sizes(
            [len(episode.source)] + [N_NEGATIVES] * config.inner_steps
        )
        for own_step in negatives:
            z_s = F.normalize(episode.source @ source, dim=-1)
            z_t = F.normalize(torch.cat([pairs, own_step]) @ target, dim=-1)
            own = (z_s * z_t[: len(z_s)]).sum(1, keepdim=True)
            logits = torch.cat([own, z_s @ z_t[len(z_s) :].T], 1) / config.tau
            _step(optimizer, F.cross_entropy(logits, first))
        optimizer = _fused(config.optimizer, [source, phi], config.classify_rate)
        for _ in range(config.inner_steps):
            z = F.normalize(episode.shots @ source, dim=-1)
            _step(optimizer, F.cross_entropy(z @ phi / config.tau, episode.labels))
        with torch.no_grad():
            for name, value in theta.items():
                value.requires_grad_(False).lerp_(kept[name], 1 - config.meta_step)

    return run


def _fused(kind: str, leaves: list[Tensor], rate: float) -> torch.optim.Optimizer:
    return (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(leaves, lr=rate, fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def settings(kind: str) -> Config:
    return make_config(
        source="s.h5", target="t.h5", n_way=N_WAY, optimizer=kind, negatives="step",
        n_negatives=N_NEGATIVES, inner_steps=N_STEPS,
    )  # fmt: skip


def ours(config: Config) -> Run:
    return lambda theta, episode: croma.meta_iteration(theta, {}, [episode], config)


def contestants() -> Iterator[tuple[str, Run]]:
    """By name; what ours takes for `sgd` at these sizes is the span solver."""
    for kind in ("adam", "sgd"):
        yield f"plain PyTorch, {kind}", plain(settings(kind))
        yield f"xmg, {kind}", ours(settings(kind))


def measure(size: Size, k_shot: int) -> dict[str, float]:
    """Meta-iterations a second by contestant."""
    data = episodes(size, k_shot)

    def rate(run: Run) -> Callable[[int], float]:
        theta = theta_of(size)
        return lambda _: machine.rate(lambda episode: run(theta, episode), data)

    with flushed_denormals(), one_thread_each(1):
        return machine.medians(size.rounds, {name: rate(run) for name, run in contestants()})


def table(size: Size) -> str:
    """All contestants at 1, 5 and 10 shots, with the ratio to plain PyTorch and Adam."""
    found = {k: measure(size, k) for k in PAIRS}
    lines = ["| meta-iterations/s | 1-shot | 5-shot | 10-shot | ratios |", "|---|---|---|---|---|"]
    for name in found[1]:
        rates = [found[k][name] for k in PAIRS]
        ratios = [found[k][name] / found[k]["plain PyTorch, adam"] for k in PAIRS]
        cells = [f"{r:.0f}" for r in rates] + [" / ".join(f"{r:.1f}" for r in ratios)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(machine.about())
    print(table(Size()))
