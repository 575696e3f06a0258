"""Find, read and digest the weights of frozen encoders. Nothing here can run a file's code."""

import hashlib
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xmg.cache import XmgError
from xmg.extract.encoders import WEIGHTS_FILES, WEIGHTS_FOLDER, WEIGHTS_VARIABLE


def find_weights(name: str, given: Path | str | None) -> Path:
    """Return `given`, or the encoder's file in the folder $XMG_WEIGHTS or ~/.cache/xmg/weights.

    Raises XmgError that says where it looked and what to type.
    """
    file_name, named = WEIGHTS_FILES[name], os.environ.get(WEIGHTS_VARIABLE)
    own = os.path.expanduser(WEIGHTS_FOLDER)  # noqa: PTH111  (Path wants a home to be)
    folders = [Path(folder) for folder in (named, own) if folder]
    tried = [Path(given)] if given else [folder / file_name for folder in folders]
    for path in tried:
        if path.is_file():
            return path
    raise XmgError(
        f"no weights for {name}: looked at {', '.join(map(str, tried))}.\n"
        f"fix: --weights FILE, or put {file_name} in a folder and set {WEIGHTS_VARIABLE} to it"
    )


def load_state(path: Path | str) -> Mapping[str, Tensor]:
    """Read a state dict from .safetensors, or from .pth / .pt with weights_only=True.

    A checkpoint that holds its state dict under "model", "state_dict" or "model_state_dict"
    is unwrapped. Raises XmgError where the file is missing, damaged, or holds more than
    tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise XmgError(f"no weights at {path}. fix: check --weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint can raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, pickle.UnpicklingError):  # torch would advise to run its code
            reason = "it holds something else than tensors; nothing of it was run"
        raise XmgError(
            f"{path} is not a readable weights file ({reason}). fix: give a .safetensors file, or "
            f"a .pth that holds a plain state dict"
        ) from error
    return _unwrap(path, loaded)


def _unwrap(path: Path, loaded: Any) -> Mapping[str, Tensor]:
    if isinstance(loaded, Mapping):
        for key in ("model", "state_dict", "model_state_dict"):
            if isinstance(loaded.get(key), Mapping):
                loaded = loaded[key]
        if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return cast(Mapping[str, Tensor], loaded)  # some networks read its metadata
    raise XmgError(f"{path} holds no state dict. fix: save model.state_dict() to it")


def fill(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load every tensor of `state` into `model`; raises XmgError where names or shapes differ."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise XmgError(
            f"{origin} does not fit this encoder: {reason[:300]}. "
            "fix: --weights with a file of its network, or the --encoder that it is of"
        ) from error


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, dtype, shape and bytes of each tensor, in order of names."""
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
