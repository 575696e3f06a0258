"""Processes that share meta-batches: torchrun's, each with a part of the tasks."""

import atexit
import importlib
import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from xmg.cache import XmgError
from xmg.cache.ranks import PATIENCE, Ranks
from xmg.engine.config import Config
from xmg.engine.model.heads import Theta


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
    return Ranks(dist.get_rank(), size, _exchange)


def means(values: Mapping[str, Tensor]) -> Theta:
    """Means over processes, by one all-reduce."""
    flat = torch.cat([value.flatten() for value in values.values()])
    dist.all_reduce(flat)
    sizes = [value.numel() for value in values.values()]
    parts = torch.split(flat / dist.get_world_size(), sizes)
    each = zip(values.items(), parts, strict=True)
    return {name: part.view_as(value) for (name, value), part in each}


def _join(backend: str) -> None:
    options: dict[str, Any] = {"timeout": PATIENCE}
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        options["device_id"] = torch.device("cuda", torch.cuda.current_device())
    # loaded later, its defaults keep the group, whose threads then outlive the interpreter
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group(backend, **options)
    atexit.register(dist.destroy_process_group)


def _exchange(said: str | None) -> list[str | None]:
    found: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(found, said)
    return found
