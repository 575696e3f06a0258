"""Memory that a thread keeps: to get it anew costs more page faults than there is work to do."""

from threading import local

from torch import Tensor

_kept = local()


def scratch(use: str, like: Tensor, shape: tuple[int, ...] | None = None) -> Tensor:
    """An uninitialized tensor, the same for each call of a thread with the same use and shape."""
    key = (use, shape or tuple(like.shape), like.dtype, like.device)
    tensors: dict[object, Tensor] = _kept.__dict__.setdefault("tensors", {})
    if key not in tensors:
        tensors[key] = like.new_empty(key[1])
    return tensors[key]
