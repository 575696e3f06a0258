"""Where downloaded weights and compiled kernels lie, how large they are, and what is there."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from rich.filesize import decimal

from xmg.cli.doctoring.finding import Finding

_PATIENCE_S: Final = 1.0  # for the size of a folder
_RESNETS: Final = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_HUB: Final = {
    "bert-base-uncased": "models--*bert-base-uncased",
    "ast": "models--MIT--ast-finetuned-audioset-10-10-0.4593",
}
_TORCH: Final = {name: f"{name}-*.pth" for name in _RESNETS}


def caches(kernels: str | None) -> Iterator[Finding]:
    """Each cache in turn. kernels: where numba keeps compiled functions, if that is known."""
    yield _cache("Hugging Face hub", hub_folder(), _HUB)
    yield _cache("torch hub", torch_folder(), _TORCH)
    yield from _weights()
    if kernels:
        yield _kernels(Path(kernels))


def hub_folder() -> Path:
    """Where huggingface_hub keeps models: HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, ~/.cache."""
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if own:
        return _expanded(own)
    home = os.environ.get("HF_HOME")
    return (_expanded(home) if home else _user_cache() / "huggingface") / "hub"


def torch_folder() -> Path:
    """Where torchvision keeps weights: TORCH_HOME, XDG_CACHE_HOME, ~/.cache."""
    home = os.environ.get("TORCH_HOME")
    return (_expanded(home) if home else _user_cache() / "torch") / "hub" / "checkpoints"


def _user_cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return _expanded(given or "~/.cache")


def _expanded(path: str) -> Path:
    """Path.expanduser raises where a service's user has no home; this leaves the ~."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _weights() -> Iterator[Finding]:
    """The user's own folder, and the one that the variable names."""
    from xmg.extract.encoders import WEIGHTS_FILES, WEIGHTS_FOLDER, WEIGHTS_VARIABLE

    yield _cache("weights", _expanded(WEIGHTS_FOLDER), WEIGHTS_FILES)
    named = os.environ.get(WEIGHTS_VARIABLE)
    if named and Path(named).is_dir():
        yield _cache(WEIGHTS_VARIABLE, Path(named), WEIGHTS_FILES)
    elif named:
        fix = f"export {WEIGHTS_VARIABLE}=FOLDER"
        yield Finding("warning", WEIGHTS_VARIABLE, f"{named} is no folder", fix)


def _cache(about: str, folder: Path, known: Mapping[str, str]) -> Finding:
    """Such as `1.2 GB in FOLDER, with weights of yamnet`."""
    try:
        there = folder.is_dir()
        held = [name for name, pattern in known.items() if there and any(folder.glob(pattern))]
        if not there:
            return Finding("ok", about, f"nothing at {folder} yet")
        what = (
            f"{size(folder)} in {folder}, with weights of {', '.join(held) or 'no known encoder'}"
        )
        if not os.access(folder, os.W_OK):
            return Finding("ok", about, f"{what}; not writable")
        return Finding("ok", about, what)
    except OSError as error:
        return Finding("warning", about, f"{folder} cannot be read: {error.strerror}")


def _kernels(folder: Path) -> Finding:
    """Numba's files; where it cannot write them every start compiles for half a minute."""
    about = "compiled kernels"
    parent = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    if not os.access(parent, os.W_OK):
        fix = "export NUMBA_CACHE_DIR=FOLDER, one that you may write to"
        return Finding("warning", about, f"{folder} is not writable: each start compiles", fix)
    files = [*folder.glob("*.nbi"), *folder.glob("*.nbc")]
    n_bytes = sum(file.stat().st_size for file in files)
    return Finding("ok", about, f"{len(files)} files of {decimal(n_bytes)} in {folder}")


def size(folder: Path, patience: float = _PATIENCE_S) -> str:
    """Bytes of the files below, links not followed; `over ...` where that takes too long."""
    total, end = 0, time.monotonic() + patience
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size  # noqa: PTH118 - much faster
            except OSError:
                continue
        if time.monotonic() > end:
            return f"over {decimal(total)}"
    return decimal(total)
