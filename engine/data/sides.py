"""Both modalities' whitened rows, held where they fit, and the tasks that are read from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xmg.cache import FeatureFile
from xmg.cache.pairs import Rows
from xmg.engine.config import Config
from xmg.engine.data.fetch import fetch_stored, refuse_beyond
from xmg.engine.data.inputs import Drawn, Episode, labels_of
from xmg.engine.data.views import TargetOnly, Trainable, WithTargetLabels
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.whitening import Whitening

_BLOCK = 1 << 14  # rows whitened at a time
_SHARE = 0.5  # of a device's free memory, for features
_HELD = 1 << 28  # bytes in host memory: a number, so that a file is read in the same way everywhere


@dataclass(frozen=True, slots=True)
class Side:
    """One modality's whitened rows: all of the file on the device, or read when they are needed."""

    file: FeatureFile
    front: Whitening
    device: torch.device
    table: Tensor | None  # (N, d)

    @classmethod
    def on(cls, device: torch.device, file: FeatureFile, front: Whitening) -> "Side":
        """Hold the rows where they fit: into half of a device's free memory, or into 256 MiB."""
        side = cls(file, front, device, None)
        n_bytes = len(file) * front.offset.numel() * front.offset.itemsize
        if file.is_sequence or n_bytes > _room(device):
            return side
        table = torch.empty(len(file), front.offset.numel(), device=device)
        for i in range(0, len(file), _BLOCK):
            rows = np.arange(i, min(i + _BLOCK, len(file)))
            table[i : i + len(rows)] = side.read(rows)
        return replace(side, table=table)

    def read(self, rows: Rows) -> Tensor:
        """Whitened rows (..., d) on the device; those held are picked there."""
        if self.table is not None:
            refuse_beyond(self.file, rows)
            return self.table[torch.from_numpy(rows).to(self.device, non_blocking=True)]
        x = self.front(fetch_stored(self.file, rows, n_threads=1))  # the loop needs its cores
        if self.device.type == "cuda":
            x = x.pin_memory()
        return x.to(self.device, non_blocking=True)


def _room(device: torch.device) -> float:
    """Bytes that features may take."""
    return _SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _HELD


@dataclass(frozen=True, slots=True)
class Sides:
    """The modalities that a system may read; no source where it has none."""

    source: Side | None
    target: Side

    @classmethod
    def on(cls, device: torch.device, view: Trainable, fronts: Fronts) -> "Sides":
        """As Side.on, the source first."""
        if isinstance(view, TargetOnly):
            return cls(None, Side.on(device, view.target.file, fronts.target))
        train = view.train if isinstance(view, WithTargetLabels) else view
        assert fronts.source
        source = Side.on(device, train.source.file, fronts.source)
        return cls(source, Side.on(device, train.target, fronts.target))

    def episode(self, drawn: Drawn, config: Config) -> Episode:
        """One task."""
        found = Episode(labels=labels_of(config), n_sets=drawn.n_sets)
        if self.source:
            found = replace(
                found,
                source=self.source.read(drawn.source),
                target=self.target.read(drawn.target),
                shots=self.source.read(drawn.shots),
                classes=torch.from_numpy(drawn.classes),
            )
        if drawn.target_shots.size:
            found = replace(
                found,
                target_shots=self.target.read(drawn.target_shots),
                target_classes=torch.from_numpy(drawn.target_classes),
            )
        return found

    def stacked(self, drawn: Sequence[Drawn], config: Config) -> Episode:
        """Tasks of pairs and source labels as one, its rows leading with a dimension of tasks."""
        assert self.source
        device = self.target.device
        return Episode(
            self.source.read(np.stack([one.source for one in drawn])),
            self.target.read(np.stack([one.target for one in drawn])),
            self.source.read(np.stack([one.shots for one in drawn])),
            labels_of(config).to(device),
            drawn[0].n_sets,
            stacked=True,
            classes=torch.from_numpy(np.stack([one.classes for one in drawn])).to(device),
        )
