"""How much memory a program can have."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MACHINE: Final = Path("/proc/meminfo")
_OWN: Final = Path("/proc/self/cgroup")
_GROUPS: Final = Path("/sys/fs/cgroup")
_SECOND: Final = ("memory.max", "memory.current", "inactive_file")  # version 2 of control groups
_FIRST: Final = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory() -> int:
    """The bytes that `memory` tells first."""
    return memory()[0]


def memory() -> tuple[int, int]:
    """Bytes that this process can have without swapping and without being ended by its container
    or batch system, and those that there are in all; zeros where the system does not tell."""
    try:
        fields = _fields(_MACHINE)
        free, total = (int(fields[name]) << 10 for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError):
        return 0, 0
    for left, limit in _groups(_OWN, _GROUPS):
        free, total = min(free, max(left, 1)), min(total, limit)
    return free, total


def _groups(own: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """What each control group that this process is in leaves of its limit, and the limit. What a
    group holds of files that nobody has used lately is left: the system gives it up first."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for _, kinds, path in (line.split(":", 2) for line in lines):
        if kinds and "memory" not in kinds.split(","):
            continue
        root, (limit, used, idle) = (groups / "memory", _FIRST) if kinds else (groups, _SECOND)
        place = root / path.lstrip("/")  # in a container it may lie elsewhere, under its root
        for group in (place, *place.parents[: len(place.parts) - len(root.parts)]):
            try:
                most = int((group / limit).read_text(encoding="ascii"))  # or "max"
                taken = int((group / used).read_text(encoding="ascii"))
                yield most - taken + int(_fields(group / "memory.stat")[idle]), most
            except (OSError, KeyError, ValueError):
                continue


def _fields(path: Path) -> dict[str, str]:
    """The first number of each line, by the name before it."""
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {line[0].rstrip(":"): line[1] for line in lines if len(line) > 1}
