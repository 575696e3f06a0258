"""Processes that share one extraction: torchrun's, on one machine or on several with one disk."""

import torch.distributed as dist

from xmg.cache.ranks import Ranks, join, n_started


def joined() -> Ranks:
    """Join the processes that torchrun has started, if it has."""
    return Ranks() if n_started() == 1 else join(dist, "gloo")
