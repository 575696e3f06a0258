"""What the shell does to the command: closed or narrow streams, Ctrl-C, variables."""

import os
import subprocess
import sys

import pytest

SAYS = r"""
import sys
from xmg.cli import main
from xmg.cli.console import progress_bar
from xmg.cli.evaluate import Console
@main.app.command()
def say():
    with progress_bar("work") as update:
        update(1, 1)
    Console().print("82.7 \xb1 3.8")
sys.argv = ["xmg", "say"]
main.main()
"""
STOPS = """
import sys, types
def stop(name): raise KeyboardInterrupt
sys.modules["xmg.cli.main"] = late = types.ModuleType("xmg.cli.main")
late.__getattr__ = stop
from xmg.cli.__main__ import main
main()
"""


def ran(script, redirected="", **env):
    """What a script prints, by a shell that redirects as it is told."""
    command = f'exec {sys.executable} -c "$SCRIPT" {redirected}'
    found = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, check=False,
        env={**os.environ, "SCRIPT": script, **env},
    )  # fmt: skip
    return found.returncode, found.stdout, found.stderr


def test_a_result_outlives_an_encoding_without_its_signs():
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, out, err = ran(SAYS, **ascii_only)
    assert (status, out) == (0, b"82.7 ? 3.8\n"), err


@pytest.mark.parametrize(("closed", "expected"), [("2>&-", "82.7 \xb1 3.8\n"), ("2>&- >&-", "")])
def test_a_result_outlives_closed_streams(closed, expected):
    status, out, _ = ran(SAYS, closed, PYTHONUTF8="1")
    assert (status, out.decode()) == (0, expected)


def test_what_cannot_be_written_says_what_to_type():
    status, _, err = ran(SAYS, ">/dev/full", PYTHONUTF8="1")
    assert status == 1 and err.splitlines()[-1].startswith(b"error: No space left on device: ")
    assert err.endswith(b"fix: put that right and type the same command again\n")


def test_ctrl_c_while_libraries_load_leaves_one_line():
    assert ran(STOPS) == (130, b"", b"interrupted\n")
    assert ran(STOPS, "2>&-") == (130, b"", b"")


@pytest.mark.parametrize("wanted", ["0", "-1", "many"])
def test_no_threads_are_refused_in_words(xmg, monkeypatch, wanted):
    monkeypatch.setenv("NUMBA_NUM_THREADS", wanted)
    status, out, err = xmg("encoders")
    assert status == 1 and not out
    assert f"NUMBA_NUM_THREADS is {wanted}, and" in err and "fix: unset" in err


def test_a_folder_that_is_gone_is_told(xmg, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    status, out, err = xmg("encoders")
    assert status == 1 and not out
    assert "the current folder has been removed. fix: cd" in err


@pytest.mark.parametrize("rank", ["", "x", "3"])
def test_a_rank_that_is_not_of_torchrun_silences_nothing(rank):
    status, out, err = ran(SAYS, RANK=rank, PYTHONUTF8="1")
    assert (status, out.decode()) == (0, "82.7 \xb1 3.8\n"), err
    assert err.startswith(b"work: 1 of 1")
