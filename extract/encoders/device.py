"""Where an encoder runs and in which precision."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xmg.cache import XmgError

Compute = Literal["float32", "bfloat16"]
_of_thread = threading.local()


def pick_device(name: str | None) -> torch.device:
    """Return the named device, or CUDA where there is one, else the CPU. Raises XmgError."""
    if name is None and torch.cuda.is_available():
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"  # torchrun's
    try:
        device = torch.device("cpu" if name is None else name)
        torch.zeros(1, device=device).item()  # "meta" gives out tensors without values
    except Exception as error:  # torch raises what it likes
        reason = str(error).partition("\n")[0].partition(". ")[0]
        why = f" ({reason})" if name and name.startswith("cuda") else ""
        raise XmgError(
            f"no device {name!r} here{why}; torch finds {', '.join(_devices())}. fix: --device cpu"
        ) from error
    return device


def _devices() -> list[str]:
    found = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *found, *(["mps"] if torch.backends.mps.is_available() else [])]


def pick_compute(device: torch.device) -> Compute:
    """Return bfloat16 where the device multiplies it natively, else float32.

    For networks that are all large products (ResNets, transformers): features keep a cosine
    above 0.999 and come several times faster. Emulated bfloat16 is slower than float32.
    """
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu":
        cpu = torch.cpu.get_capabilities()
        native = bool(cpu.get("amx_bf16") or cpu.get("avx512_bf16"))
    else:
        native = False
    return "bfloat16" if native else "float32"


@dataclass(frozen=True, slots=True)
class Runner:
    """A network's device, and the precision of its products there."""

    device: torch.device
    compute: Compute

    @classmethod
    def pick(cls, device: str | None, compute: Compute | None = None) -> "Runner":
        """As asked, or the best there is. Raises XmgError where there is no such device."""
        found = pick_device(device)
        return cls(found, compute or pick_compute(found))

    def at_once(self, *, convolutions: bool = False) -> int:
        """How many batches to encode side by side.

        On a GPU two: one computes while the data of the other moves. On a CPU one for each core
        for convolutions, which a core does faster alone, on a batch that its cache holds, than
        all cores do together; else one, as they share a large product well.
        """
        if self.device.type == "cuda":
            return 2
        return torch.get_num_threads() if convolutions and self.device.type == "cpu" else 1

    @contextmanager
    def computing(self, compute: Compute | None = None) -> Iterator[None]:
        """No gradients, in `compute`, by default the runner's; float32 means float32, not TF32.

        On CUDA each thread has a stream of its own, which has done its work at the end of the
        block.
        """
        half = (compute or self.compute) == "bfloat16"
        stream = _stream(self.device) if self.device.type == "cuda" else None
        with (
            torch.inference_mode(),
            torch.cuda.stream(stream),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            yield
            if stream:
                stream.synchronize()

    def moved(self, array: npt.NDArray[np.generic]) -> Tensor:
        """An array on the device; to CUDA by way of pinned memory, so that the thread need not
        wait. Call it inside `computing`."""
        tensor = torch.from_numpy(array)
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of this thread, which first waits for the weights to be where they belong."""
    if getattr(_of_thread, "device", None) != device:
        torch.cuda.synchronize(device)
        _of_thread.device, _of_thread.stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream: torch.cuda.Stream = _of_thread.stream
    return stream
