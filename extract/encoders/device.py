"""Where an encoder runs and in which precision."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from xmg.cache import XmgError

Compute = Literal["float32", "bfloat16"]


def pick_device(name: str | None) -> torch.device:
    """Return the named device, or CUDA where there is one, else the CPU. Raises XmgError."""
    if name is None and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # torchrun's
    if name is None:
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise XmgError(f"no device {name!r} here ({reason}). fix: --device cpu") from error
    return device


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


@contextmanager
def computing(device: torch.device, compute: Compute) -> Iterator[None]:
    """No gradients, in `compute`; float32 means float32, not TF32."""
    with (
        torch.inference_mode(),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        torch.autocast(device.type, torch.bfloat16, enabled=compute == "bfloat16"),
    ):
        yield
