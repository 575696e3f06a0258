"""Memory that a thread keeps: to get it anew costs more page faults than there is work to do."""

import math
from collections.abc import Callable, Hashable
from threading import local
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

T = TypeVar("T")
_MOST: Final = 64  # kept by a thread: a loop uses 20 to 40, by its heads' parameters
_kept = local()


def scratch(use: str, like: Tensor) -> Tensor:
    """An uninitialized tensor, the same for each call of a thread with the same use and shape."""
    return kept((use, like.shape, like.dtype, like.device), lambda: like.new_empty(like.shape))


def aligned(dtype: npt.DTypeLike, *shape: int) -> npt.NDArray[Any]:
    """An uninitialized array that begins at a cache line, as torch's do and NumPy's do not: vectors
    as wide as a line would else take two of them each."""
    kind = np.dtype(dtype)
    memory = torch.empty(math.prod(shape) * kind.itemsize, dtype=torch.uint8)
    return memory.numpy().view(kind).reshape(shape)


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` made when a thread first asked by this key; the key tells all it depends on.

    What was not asked for longest is let go, as shapes may be of any number.
    """
    made: dict[Hashable, T] = _kept.__dict__.setdefault("made", {})
    found = made.pop(key) if key in made else make()
    made[key] = found  # the last in order
    if len(made) > _MOST:
        del made[next(iter(made))]
    return found
