"""Processes that share one extraction: torchrun's, on one machine or on several with one disk."""

import os

import torch.distributed as dist

from xmg.cache.ranks import Ranks, join


def joined() -> Ranks:
    """Join the processes that torchrun has started, if it has."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    return Ranks() if alone else join(dist, "gloo")
