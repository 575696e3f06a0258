"""Processes that share one extraction: torchrun's, on one machine or on several with one disk."""

import atexit
import importlib
import os
from typing import Any

import torch.distributed as dist

from xmg.cache.ranks import PATIENCE, Ranks


def joined() -> Ranks:
    """Join the processes that torchrun has started, if it has."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    if not dist.is_initialized():
        # loaded later, its defaults keep the group, whose threads then outlive the interpreter
        importlib.import_module("torch.distributed.nn")
        dist.init_process_group("gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), size, _exchange)


def _exchange(said: Any) -> list[Any]:
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, said)
    return found
