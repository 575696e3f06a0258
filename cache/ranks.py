"""Steps that several processes take together; how they talk is their own affair."""

import atexit
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any, Final, TypeVar, cast

from xmg.cache.errors import XmgError

T = TypeVar("T")
_PATIENCE: Final = timedelta(days=30)  # others wait while one prepares, or has more inputs left


def _alone(said: Any) -> list[Any]:
    return [said]


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process is `rank` of `size`; alone, every step is simply taken.

    exchange: tells all processes something, and returns what each of them told, by rank.
    """

    rank: int = 0
    size: int = 1
    exchange: Callable[[Any], list[Any]] = _alone

    def first(self, step: Callable[[], T]) -> T | None:
        """Take a step in rank 0 alone, which the others wait for; they get None.

        Raises XmgError in all of them where it does.
        """
        return self.together(step if self.rank == 0 else lambda: None)

    def together(self, step: Callable[[], T]) -> T:
        """Take a step in every rank, and wait for all; raises XmgError in all where one does."""
        if self.size == 1:
            return step()
        found, reason = None, None
        try:
            found = step()
        except XmgError as error:
            reason = str(error)
        reasons = [one for one in self.exchange(reason) if one is not None]
        if reasons:
            raise XmgError(reasons[0])
        return cast(T, found)

    def share(self, parts: Sequence[T]) -> Sequence[T]:
        """What falls to this process: every size-th."""
        return parts[self.rank :: self.size]


ALONE: Final = Ranks()


def n_started() -> int:
    """How many processes torchrun has started, 1 without it; raises XmgError for no number."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdecimal() and int(size):
        return int(size)
    raise XmgError(
        f"WORLD_SIZE is {size!r}, and has to be how many processes share the work. "
        "fix: unset WORLD_SIZE"
    )


def _check_rank() -> None:
    """Raise XmgError where this process would wait for ever, as one more than are awaited."""
    rank, size = os.environ.get("RANK", ""), n_started()
    if rank.isdecimal() and int(rank) >= size:
        raise XmgError(
            f"RANK is {rank}, and WORLD_SIZE {size}: ranks are 0 to {size - 1}. "
            "fix: start processes by torchrun, or unset WORLD_SIZE for a single one"
        )


def join(dist: ModuleType, backend: str, **options: Any) -> Ranks:
    """Join the processes that torchrun has started, once, until this one ends.

    dist: torch.distributed, as this room loads no torch; options: of its `init_process_group`.
    Raises XmgError where variables do not tell how the processes meet.
    """

    def exchange(said: Any) -> list[Any]:
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, said)
        return found

    if not dist.is_initialized():
        _check_rank()
        # loaded later, its defaults keep the group, whose threads then outlive the interpreter
        importlib.import_module(f"{dist.__name__}.nn")
        try:
            dist.init_process_group(backend, timeout=_PATIENCE, **options)
        except ValueError as error:
            raise XmgError(
                f"WORLD_SIZE asks for {n_started()} processes, which cannot meet: {error}. "
                "fix: start them by torchrun, or unset WORLD_SIZE for a single one"
            ) from error
        atexit.register(dist.destroy_process_group)
    return Ranks(dist.get_rank(), dist.get_world_size(), exchange)
