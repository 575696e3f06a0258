"""The loops that the engine is timed against: each takes the same steps, in its own manner."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from xmg.engine.config import Config
from xmg.engine.data.inputs import Episode

Theta = dict[str, Tensor]
Run = Callable[[Theta, Episode], object]


def plain(config: Config) -> Run:
    """The yardstick: PyTorch with a fused optimizer, no clone of the model, no other overhead.

    theta is kept aside, the parameters train in place and the meta-update mixes both.
    """

    def run(theta: Theta, episode: Episode) -> None:
        kept = {name: value.clone() for name, value in theta.items()}
        source, target, phi = (theta[name].requires_grad_() for name in ("source", "target", "phi"))
        optimizer = _fused(config.optimizer, [source, target], config.align_rate)
        pairs, *negatives = _by_step(episode, config)
        for own in negatives:
            z_s = F.normalize(episode.source @ source, dim=-1)
            z_t = F.normalize(torch.cat([pairs, own]) @ target, dim=-1)
            _step(optimizer, _info_nce(z_s, z_t, config.tau))
        optimizer = _fused(config.optimizer, [source, phi], config.classify_rate)
        for _ in range(config.inner_steps):
            z = F.normalize(episode.shots @ source, dim=-1)
            _step(optimizer, F.cross_entropy(z @ phi / config.tau, episode.labels))
        with torch.no_grad():
            for name, value in theta.items():
                value.requires_grad_(False).lerp_(kept[name], 1 - config.meta_step)

    return run


def cloned(config: Config) -> Run:
    """As meta-learning libraries are used: modules, deep-copied for each task, and an optimizer."""

    def run(theta: Theta, episode: Episode) -> None:
        pairs, *negatives = _by_step(episode, config)
        batches = [(episode.source, torch.cat([pairs, own])) for own in negatives]
        _by_modules(theta, batches, [(episode.shots, episode.labels)] * config.inner_steps, config)

    return run


def loaded(config: Config, folder: Path, episodes: list[Episode]) -> Run:
    """As the method's released code is written: a file for each sample, and for each task data
    loaders with a worker, started anew."""
    files = [_write(folder / str(i), episode) for i, episode in enumerate(episodes)]
    places = {id(episode): i for i, episode in enumerate(episodes)}

    def run(theta: Theta, episode: Episode) -> None:
        source, target, shots = files[places[id(episode)]]
        labels = episode.labels
        n = len(source)
        steps = [[*target[:n], *own] for own in _chunks(target[n:], config.n_negatives)]
        read_s, read_t = (_loader([source] * len(steps)), _loader(steps))
        batches = list(zip(read_s, read_t, strict=True))
        tasks = [(x, labels) for x in _loader([shots] * config.inner_steps)]
        _by_modules(theta, batches, tasks, config)

    return run


def _by_modules(
    theta: Theta,
    batches: list[tuple[Tensor, Tensor]],
    tasks: list[tuple[Tensor, Tensor]],
    config: Config,
) -> None:
    model = nn.ModuleDict({n: nn.Linear(*v.shape, bias=False) for n, v in theta.items()})
    with torch.no_grad():
        for name, value in theta.items():
            model[name].weight.copy_(value.T)
    learner = copy.deepcopy(model)
    source, target, phi = learner["source"], learner["target"], learner["phi"]
    both = [*source.parameters(), *target.parameters()]
    optimizer = torch.optim.Adam(both, lr=config.align_rate)
    for x, y in batches:
        z_s, z_t = F.normalize(source(x), dim=-1), F.normalize(target(y), dim=-1)
        _step(optimizer, _info_nce(z_s, z_t, config.tau))
    both = [*source.parameters(), *phi.parameters()]
    optimizer = torch.optim.Adam(both, lr=config.classify_rate)
    for x, labels in tasks:
        logits = phi(F.normalize(source(x), dim=-1)) / config.tau
        _step(optimizer, F.cross_entropy(logits, labels))
    with torch.no_grad():
        for name, value in theta.items():
            value.add_(learner[name].weight.T - value, alpha=config.meta_step)


def _by_step(episode: Episode, config: Config) -> tuple[Tensor, ...]:
    """The pairs' target rows, then each step's negatives."""
    sizes = [len(episode.source)] + [config.n_negatives] * config.inner_steps
    return episode.target.split_with_sizes(sizes)


def _info_nce(z_s: Tensor, z_t: Tensor, tau: float) -> Tensor:
    own = (z_s * z_t[: len(z_s)]).sum(1, keepdim=True)
    logits = torch.cat([own, z_s @ z_t[len(z_s) :].T], 1) / tau
    return F.cross_entropy(logits, torch.zeros(len(z_s), dtype=torch.int64))


def _fused(kind: str, leaves: list[Tensor], rate: float) -> torch.optim.Optimizer:
    return (torch.optim.Adam if kind == "adam" else torch.optim.SGD)(leaves, lr=rate, fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class _Files(Dataset):  # type: ignore[type-arg]
    """Batches of samples, a file each."""

    def __init__(self, batches: list[list[Path]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> Tensor:
        return torch.from_numpy(np.stack([np.load(path) for path in self.batches[i]]))


def _loader(batches: list[list[Path]]) -> DataLoader:  # type: ignore[type-arg]
    workers = {"num_workers": 1, "multiprocessing_context": "fork"}  # Linux's default, and fastest
    return DataLoader(_Files(batches), batch_size=None, **workers)  # type: ignore[arg-type]


def _write(folder: Path, episode: Episode) -> tuple[list[Path], ...]:
    return tuple(
        [_save(folder / f"{name}{i}.npy", row) for i, row in enumerate(getattr(episode, name))]
        for name in ("source", "target", "shots")
    )


def _save(path: Path, row: Tensor) -> Path:
    path.parent.mkdir(exist_ok=True)
    np.save(path, row.numpy())
    return path


def _chunks(paths: list[Path], n: int) -> Iterator[list[Path]]:
    return (paths[i : i + n] for i in range(0, len(paths), n))
