"""Processes that share meta-batches: torchrun's, each with a part of the tasks."""

import atexit
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from xmg.cache import XmgError
from xmg.engine.config import Config
from xmg.engine.heads import Theta

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is `rank` of `size`; one alone is all there is."""

    rank: int = 0
    size: int = 1

    def first(self, step: Callable[[], T]) -> T | None:
        """Take a step in rank 0 alone, which the others wait for; they get None.

        Raises XmgError in all of them where it does.
        """
        if self.size == 1:
            return step()
        found, said = None, [None]
        if self.rank == 0:
            try:
                found = step()
            except XmgError as error:
                said = [str(error)]  # type: ignore[list-item]
        dist.broadcast_object_list(said)
        if said[0] is not None:
            raise XmgError(said[0])
        return found

    @property
    def together(self) -> Callable[[Mapping[str, Tensor]], Theta] | None:
        """What makes means over processes, where there are several."""
        return self._means if self.size > 1 else None

    def _means(self, values: Mapping[str, Tensor]) -> Theta:
        """By one all-reduce."""
        flat = torch.cat([value.flatten() for value in values.values()])
        dist.all_reduce(flat)
        parts = torch.split(flat / self.size, [value.numel() for value in values.values()])
        shaped = zip(values.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in shaped}

    def share(self, tasks: range) -> range:
        """Numbers of this process's tasks: every size-th."""
        return tasks[self.rank :: self.size]


def joined(config: Config, ordinary: bool) -> Ranks:
    """Join the processes that torchrun has started, if it has.

    ordinary: whether a stage trains on one task after the other. Raises XmgError where the work
    cannot be split evenly.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    if ordinary:
        raise XmgError(
            f"{config.system} trains on one task after the other, which {size} processes cannot "
            "share. fix: run it in one, without torchrun"
        )
    if config.meta_batch % size:
        raise XmgError(
            f"a meta-batch of {config.meta_batch} cannot be split evenly over {size} processes. "
            f"fix: meta_batch = {size} or a multiple of it, in a --config file"
        )
    if not dist.is_initialized():
        _join("nccl" if config.device == "cuda" else "gloo")
    return Ranks(dist.get_rank(), size)


def _join(backend: str) -> None:
    options: dict[str, Any] = {}
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        options["device_id"] = torch.device("cuda", torch.cuda.current_device())
    dist.init_process_group(backend, **options)
    atexit.register(dist.destroy_process_group)
