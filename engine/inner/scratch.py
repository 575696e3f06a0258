"""Memory that a thread keeps: to get it anew costs more page faults than there is work to do."""

from collections.abc import Callable, Hashable
from threading import local
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")
_kept = local()


def scratch(use: str, like: Tensor) -> Tensor:
    """An uninitialized tensor, the same for each call of a thread with the same use and shape."""
    return kept((use, like.shape, like.dtype, like.device), lambda: like.new_empty(like.shape))


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` made when a thread first asked by this key; the key tells all it depends on."""
    made: dict[Hashable, T] = _kept.__dict__.setdefault("made", {})
    if key not in made:
        made[key] = make()
    return made[key]
