"""Steps that several processes take together; how they talk is their own affair."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from xmg.cache.errors import XmgError

T = TypeVar("T")
PATIENCE: Final = timedelta(days=30)  # others wait while one prepares, or has more inputs left


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
