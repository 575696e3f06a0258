"""Which builds of torch, torchvision and torchaudio fit together; read without importing any."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

FAMILY: Final = ("torch", "torchvision", "torchaudio")


@dataclass(frozen=True, slots=True)
class Build:
    """version: such as 2.14.1+cu130. cuda: "13.0", "" for a CPU build, None where it is not said.

    needs: what the package says of the torch that it is for, such as "==2.14.1".
    """

    version: str
    cuda: str | None
    needs: str = ""


def builds() -> dict[str, Build]:
    """The installed ones of FAMILY, from their version.py and metadata."""
    found = {name: _build(name) for name in FAMILY}
    return {name: build for name, build in found.items() if build}


def misfits(found: Mapping[str, Build]) -> dict[str, str]:
    """Why a package does not fit the torch beside it, by package; {} without torch."""
    torch = found.get("torch")
    if not torch:
        return {}
    reasons = {name: "; ".join(_reasons(name, found[name], torch)) for name in found}
    return {name: reason for name, reason in reasons.items() if reason and name != "torch"}


def _reasons(name: str, build: Build, torch: Build) -> Iterator[str]:
    if build.needs and not _holds(torch.version, build.needs):
        yield f"{name} {build.version} is for torch{build.needs}, and torch is {torch.version}"
    if build.cuda is None or torch.cuda is None or _alike(name, build.cuda, torch.cuda):
        return
    yield f"{name} is built for {_shown(build.cuda)}, torch for {_shown(torch.cuda)}"


def _alike(name: str, ours: str, torchs: str) -> bool:
    """torchvision asks for the same major version of CUDA, torchaudio for the minor too."""
    digits = 1 if name == "torchvision" else 2
    return ours.split(".")[:digits] == torchs.split(".")[:digits]


def _shown(cuda: str) -> str:
    return f"CUDA {cuda}" if cuda else "the CPU alone"


def _holds(version: str, specifier: str) -> bool:
    """Whether a version satisfies a specifier; a local part such as +cpu does not matter."""
    try:
        public = Version(version).public
        return Requirement(f"torch{specifier}").specifier.contains(public, prereleases=True)
    except (InvalidVersion, InvalidRequirement):
        return True


def _build(name: str) -> Build | None:
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return None
    said = _constants(name)
    version = said.get("__version__") or dist.version
    return Build(version, _cuda(version, said), _torch_wanted(dist.requires or []))


def _constants(name: str) -> dict[str, str | None]:
    """Text and None that version.py assigns; {} where it cannot be read."""
    try:
        path = Path(str(distribution(name).locate_file(f"{name}/version.py")))
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, str | None] = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, ast.Constant):
            found[target.id] = value.value if isinstance(value.value, str) else None
    return found


def _cuda(version: str, said: Mapping[str, str | None]) -> str | None:
    """From `cuda = "13.0"` or None, which torch says, or a tag such as +cu130 or +cpu."""
    if "cuda" in said:
        return None if said.get("hip") else said["cuda"] or ""
    tag = re.search(r"\+(?:(cpu)|cu(\d+)(\d))\b", version)
    if not tag:
        return None
    return "" if tag[1] else f"{tag[2]}.{tag[3]}"


def _torch_wanted(requires: list[str]) -> str:
    for line in requires:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.name == "torch" and wanted.marker is None:
            return str(wanted.specifier)
    return ""
