"""Compiled kernels do not outlive the sources that they call."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from xmg.cache import XmgError
from xmg.engine import kernels
from xmg.engine.kernels import forget_stale


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "compiled").mkdir()
    (tmp_path / "a.py").write_text("a")
    (tmp_path / "b.py").write_text("b")
    forget_stale(tmp_path, tmp_path / "compiled")
    (tmp_path / "compiled" / "a.f.nbi").touch()
    return tmp_path


def test_what_was_compiled_of_other_sources_goes(folder):
    (folder / "b.py").write_text("c")
    forget_stale(folder, folder / "compiled")
    assert not (folder / "compiled" / "a.f.nbi").exists()
    assert (folder / "a.py").exists() and (folder / "b.py").exists()


def test_what_was_compiled_of_these_sources_stays(folder):
    os.utime(folder / "b.py")  # a copy of the sources has times of its own
    forget_stale(folder, folder / "compiled")
    assert (folder / "compiled" / "a.f.nbi").exists()


@pytest.mark.parametrize("stamp", [None, b"", b"\xff"])
def test_what_was_compiled_of_unknown_sources_goes(folder, stamp):
    (folder / "compiled" / "sources.sha256").unlink()
    if stamp is not None:
        (folder / "compiled" / "sources.sha256").write_bytes(stamp)
    forget_stale(folder, folder / "compiled")
    assert not (folder / "compiled" / "a.f.nbi").exists()


def test_a_folder_without_compiled_code_is_left_alone(tmp_path):
    (tmp_path / "a.py").touch()
    forget_stale(tmp_path, tmp_path / "__pycache__")
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


@pytest.mark.parametrize("jit", ["0", "1"])
def test_kernels_are_looked_for_where_numba_keeps_them(tmp_path, jit):
    """Outside of the sources too; without compilation there are none."""
    code = "import xmg.engine.kernels as k; print(k.kept_in())"
    setting = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_DISABLE_JIT": jit}
    call = [sys.executable, "-c", code]
    found = subprocess.run(
        call, env={**os.environ, **setting}, capture_output=True, text=True, check=True
    )
    stamps = [str(path.parent) for path in tmp_path.glob("*/sources.sha256")]
    assert stamps == ([] if jit == "1" else [found.stdout.strip()])


@pytest.mark.parametrize(("home", "inside"), [("home", True), ("file/home", False)])
def test_kernels_stay_out_of_the_package(tmp_path, home, inside):
    """In the user's cache, and beside the sources only where nobody can write there. Functions of
    others are kept where they were."""
    (tmp_path / "file").touch()
    code = (
        "import xmg.engine.kernels as k, numba; from xmg.engine.kernels import rng;"
        "print(k.kept_in(), rng.child.stats.cache_path, numba.config.CACHE_DIR, sep='|')"
    )
    cleared = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    setting = {"XDG_CACHE_HOME": str(tmp_path / home), "NUMBA_DISABLE_JIT": "0"}
    call = [sys.executable, "-c", code]
    found = subprocess.run(
        call, env={**cleared, **setting}, capture_output=True, text=True, check=True
    )
    kept, child, others = found.stdout.strip().split("|")
    assert kept == child and others == ""
    assert kept.startswith(str(tmp_path / "home" / "xmg" / "kernels")) == inside


CLOSED = """
from numba.core.caching import CacheImpl

CacheImpl._locator_classes = [CacheImpl._locator_classes[place] for place in {places}]
import xmg.engine.kernels as k, numba
from xmg.engine.kernels import rng

print(k.kept_in(), rng.child.stats.cache_path, numba.config.CACHE_DIR, sep="|")
"""


HOMELESS = "import os, pwd; pwd.getpwuid, os.access = {}.__getitem__, lambda *_: False"


def closed(tmp_path, places, user="", **setting):
    """What CLOSED says where only these places of Numba's are open. user: code ahead of it."""
    (tmp_path / "temporary").mkdir()
    gone = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME")
    cleared = {name: value for name, value in os.environ.items() if name not in gone}
    setting |= {"NUMBA_DISABLE_JIT": "0", "TMPDIR": str(tmp_path / "temporary")}
    found = subprocess.run(
        [sys.executable, "-c", f"{user}\n{CLOSED.format(places=places)}"], cwd=tmp_path,
        env={**cleared, **setting}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return found.stdout.strip().split("|")


def test_kernels_pass_where_nobody_can_write(tmp_path):
    """A service's user, and a package that is root's: neither sources nor home take any."""
    (tmp_path / "file").touch()
    kept, child, others = closed(tmp_path, [0], XDG_CACHE_HOME=str(tmp_path / "file"))
    assert kept == str(tmp_path / "file" / "xmg" / "kernels") and others == ""
    assert child.startswith(str(tmp_path / "temporary" / "xmg-kernels-"))
    assert not list((tmp_path / "temporary").iterdir())


FULL = """
import shutil
from types import SimpleNamespace

shutil.disk_usage = lambda _: SimpleNamespace(free=4096)
"""


@pytest.mark.parametrize("compiled", [False, True])
def test_kernels_pass_where_the_disk_is_full(tmp_path, compiled):
    """The user's cache takes empty files only: Numba would raise OSError at the first kernel. What
    was compiled before is read from there."""
    if compiled:
        first = closed(tmp_path, [0], XDG_CACHE_HOME=str(tmp_path / "home"))[1]
        (Path(first) / "rng.child.nbi").touch()
        (tmp_path / "temporary").rmdir()
    child = closed(tmp_path, [0], FULL, XDG_CACHE_HOME=str(tmp_path / "home"))[1]
    where = "home/xmg/kernels" if compiled else "temporary/xmg-kernels-"
    assert child.startswith(str(tmp_path / where))
    assert not list((tmp_path / "temporary").iterdir())


def test_kernels_pass_where_there_is_no_home(tmp_path):
    """Numba would make a folder called ~ in the current one."""
    kept, child, others = closed(tmp_path, [0, 2], HOMELESS)
    sources = Path(kernels.__file__).parent
    assert kept == str(sources) and others == ""
    assert not [path for path in sources.iterdir() if path.suffix == ".sha256"]
    assert child.startswith(str(tmp_path / "temporary" / "xmg-kernels-"))
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_kernels_that_can_be_kept_nowhere_say_what_to_do(monkeypatch):
    monkeypatch.setattr(kernels, "TemporaryDirectory", lambda **_: Path("/no/where").stat())
    with pytest.raises(XmgError, match="fix: export NUMBA_CACHE_DIR=FOLDER"):
        kernels._passing_folder()
