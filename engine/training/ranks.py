"""Processes that share meta-batches: torchrun's, each with a part of the tasks."""

import os
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from xmg.cache import XmgError
from xmg.cache.ranks import Ranks, join, n_started
from xmg.engine.config import Config
from xmg.engine.model.heads import Theta


def joined(config: Config, ordinary: bool) -> Ranks:
    """Join the processes that torchrun has started, if it has.

    ordinary: whether a stage trains on one task after the other. Raises XmgError where the work
    cannot be split evenly.
    """
    size = n_started()
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
    if config.device != "cuda":
        return join(dist, "gloo")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return join(dist, "nccl", device_id=device)


def means(values: Mapping[str, Tensor]) -> Theta:
    """Means over processes, by one all-reduce."""
    flat = torch.cat([value.flatten() for value in values.values()])
    dist.all_reduce(flat)
    sizes = [value.numel() for value in values.values()]
    parts = torch.split(flat / dist.get_world_size(), sizes)
    each = zip(values.items(), parts, strict=True)
    return {name: part.view_as(value) for (name, value), part in each}
