"""Processes that share one extraction: torchrun's, on one machine or on several with one disk."""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import torch.distributed as dist

from xmg.cache import XmgError

T = TypeVar("T")
_PATIENCE: Final = timedelta(days=30)  # a rank may have days of inputs more than another


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is `rank` of `size`; alone, every step is simply taken."""

    rank: int = 0
    size: int = 1

    def first(self, step: Callable[[], T]) -> T | None:
        """Take a step in rank 0 alone, which the others wait for; they get None.

        Raises XmgError in all of them where it does.
        """
        if self.size == 1:
            return step()
        found, error = _tried(step) if self.rank == 0 else (None, None)
        said: list[Any] = [error]
        dist.broadcast_object_list(said)
        if said[0] is not None:
            raise XmgError(said[0])
        return found

    def together(self, step: Callable[[], T]) -> T:
        """Take a step in every rank, and wait for all; raises XmgError in all where one does."""
        if self.size == 1:
            return step()
        found, error = _tried(step)
        errors: list[Any] = [None] * self.size
        dist.all_gather_object(errors, error)
        reasons = [reason for reason in errors if reason is not None]
        if reasons:
            raise XmgError(reasons[0])
        return cast(T, found)

    def share(self, batches: list[T]) -> list[T]:
        """This rank's part: every size-th."""
        return batches[self.rank :: self.size]


def joined() -> Ranks:
    """Join the processes that torchrun has started, if it has."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), size)


def _tried(step: Callable[[], T]) -> tuple[T | None, str | None]:
    """What a step returns, or what its XmgError says."""
    try:
        return step(), None
    except XmgError as error:
        return None, str(error)
