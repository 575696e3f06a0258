"""Free memory, where a container or a batch system gives a part of the machine's."""

from pathlib import Path

import pytest

from xmg.cache import memory

GIB = 1 << 30
NAMES = {
    "0::": ("memory.max", "memory.current", "inactive_file"),
    "4:memory:": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def group(folder: Path, kind: str, limit: object, used: int, idle: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    most, now, name = NAMES[kind]
    (folder / most).write_text(f"{limit}\n", encoding="ascii")
    (folder / now).write_text(f"{used}\n", encoding="ascii")
    (folder / "memory.stat").write_text(f"anon 1\n{name} {idle}\n", encoding="ascii")


def groups(tmp_path: Path, lines: str) -> list[tuple[int, int]]:
    (tmp_path / "own").write_text(lines, encoding="ascii")
    return list(memory._groups(tmp_path / "own", tmp_path / "groups"))


@pytest.mark.parametrize("kind", NAMES)
def test_each_group_up_to_the_root_leaves_what_it_has_not_used(tmp_path, kind):
    root = tmp_path / "groups" / ("memory" if "memory" in kind else "")
    group(root, kind, "max" if kind == "0::" else 2**63 - 4096, 3 * GIB, 0)
    group(root / "slurm", kind, 8 * GIB, 5 * GIB, GIB)
    group(root / "slurm" / "job", kind, 4 * GIB, 3 * GIB, 0)
    found = groups(tmp_path, f"9:name=systemd:/\n3:cpu,cpuacct:/slurm\n{kind}/slurm/job\n")
    assert found[:2] == [(GIB, 4 * GIB), (4 * GIB, 8 * GIB)]
    assert all(left > 2**62 for left, _ in found[2:])  # no limit


@pytest.mark.parametrize("kind", NAMES)
def test_a_container_sees_its_group_as_the_root(tmp_path, kind):
    root = tmp_path / "groups" / ("memory" if "memory" in kind else "")
    group(root, kind, 2 * GIB, GIB, 0)
    assert groups(tmp_path, f"{kind}/docker/0123\n") == [(GIB, 2 * GIB)]


def test_what_the_system_does_not_tell_limits_nothing(tmp_path):
    assert not list(memory._groups(tmp_path / "none", tmp_path))
    assert not groups(tmp_path, "0::/somewhere\n")


def test_the_narrowest_limit_counts_and_a_full_group_leaves_next_to_nothing(monkeypatch):
    monkeypatch.setattr(memory, "_groups", lambda *_: [(-5, 4096), (GIB, 2**60)])
    assert memory.memory() == (1, 4096)  # 0 says that nothing is known


def test_memory_of_this_machine():
    free, total = memory.memory()
    assert 0 < free <= total < 1 << 60
