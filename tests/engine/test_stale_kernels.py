"""Compiled kernels do not outlive the sources that they call."""

import os

import pytest

from xmg.engine.kernels import forget_stale


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    for name, time in (("a.py", 10), ("b.py", 30), ("__pycache__/a.f.nbi", 20)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    return tmp_path


def test_what_was_compiled_before_any_source_changed_goes(folder):
    forget_stale(folder)
    assert not (folder / "__pycache__/a.f.nbi").exists()
    assert (folder / "a.py").exists() and (folder / "b.py").exists()


def test_what_is_newer_than_all_sources_stays(folder):
    os.utime(folder / "b.py", (15, 15))
    forget_stale(folder)
    assert (folder / "__pycache__/a.f.nbi").exists()


def test_a_folder_without_compiled_code_is_left_alone(tmp_path):
    forget_stale(tmp_path)
    (tmp_path / "a.py").touch()
    forget_stale(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]
