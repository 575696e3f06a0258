"""Progress and hints on stderr: a bar, plain lines, or JSON; each in a process of its own."""

import csv
import json
import os
import pty
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from xmg.cli import progress
from xmg.cli.events import Events

WORK = """
from xmg.cli.console import hints, progress_bar, say
with hints.status("loading [it][/it]\\x1b[2J"), progress_bar("job [1]\\x1b[2J") as update:
    for i in range(41):
        update(i, 40, 0.5 if i > 20 else "note\\x07")
hints.print("rejected \\x1b[2Jone:\\n[why]")
hints.print("next: [bold]go on[/bold] a:dog:.h5")
say("result")
"""


def ran(script, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env=clean | {"TERM": "xterm-256color"} | env,
    )  # fmt: skip


def on_terminal(script, **env):
    """What a script writes where stdout and stderr are one terminal."""
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env=clean | {"TERM": "xterm-256color"} | env,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            part = b""
        if not part:
            break
        written += part
    os.close(ours)
    assert process.wait() == 0
    return written


def test_without_a_terminal_progress_is_plain_lines():
    done = ran(WORK)
    assert done.stdout == "result\n"
    *lines, first, second, last = done.stderr.splitlines()
    assert (first, second) == (r"rejected \x1b[2Jone:", "[why]")
    assert last == "next: [bold]go on[/bold] a:dog:.h5"  # neither markup nor an emoji
    assert len(lines) >= 11 and "\x1b" not in done.stderr
    assert lines[0] == r"job [1]\x1b[2J: 0 of 40 (0%), note\x07"
    assert any("20 of 40 (50%)" in line and line.endswith(r"note\x07") for line in lines)
    assert lines[-1] == r"job [1]\x1b[2J: 40 of 40 (100%), validation 50.0%"


@pytest.mark.parametrize(("n", "said"), [(10**20, "999999999 days"), (3600, "1:00:00")])
def test_the_time_that_is_left_may_be_beyond_all_dates(monkeypatch, n, said):
    clock = iter((0, 0, 9, 9))  # two readings an update, of which the second takes nine seconds
    monkeypatch.setattr(progress.time, "monotonic", clock.__next__)
    told = []
    with progress.lines("job", told.append) as update:
        update(0, n)
        update(9, 9 + n)
    assert f"about {said} left" in told[-1]


def test_a_terminal_has_a_bar_that_moves():
    written = on_terminal(WORK)
    assert b"\x1b" in written and "━".encode() in written and b"40/40" in written
    assert b"\x1b[2J" not in written and b"\x07" not in written


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_sequence_where_none_is_wanted(env):
    written = on_terminal(WORK, **env)
    assert b"\x1b" not in written
    assert b"20 of 40 (50%)" in written and b"result" in written
    helped = on_terminal("import sys; sys.argv = ['xmg', '--help']\n" + MAIN, **env)
    assert b"\x1b" not in helped and b"meta-train" in helped


MAIN = "from xmg.cli.main import main\nmain()"
KEYS = ["time", "command", "event", "task", "done", "total", "note"]


def told(text):
    """The objects of JSON lines, each with the keys that all have and a time of now in UTC."""
    found = [json.loads(line) for line in text.splitlines()]
    for one in found:
        assert list(one) == KEYS
        time = datetime.fromisoformat(one["time"])
        assert time.utcoffset() == timedelta(0)
    return found


def manifest(folder, n=40):
    path = folder / "t.csv"
    with open(path, "w", newline="") as file:
        rows = [(i, f"text {i}", f"class{i % 4}") for i in range(n)]
        csv.writer(file).writerows([("id", "text", "label"), *rows, ("none", " ", "class0")])
    return path


def xmg(*words):
    return subprocess.run(
        [sys.executable, "-m", "xmg.cli.main", *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_command_with_log_json(tmp_path):
    out = tmp_path / "t.h5"
    words = ("extract", manifest(tmp_path), "-e", "char-ngrams", "-o", out)
    done = xmg("--log-json", *words)
    assert done.returncode == 0 and done.stdout == f"{out}: 40 rows x 2048, 4 classes\n"
    found = told(done.stderr)
    assert {one["command"] for one in found} == {"extract"}
    assert [one["note"] for one in found if one["event"] == "status"] == ["loading char-ngrams"]
    (*_, last) = [one for one in found if one["event"] == "progress"]
    assert (last["task"], last["done"], last["total"]) == ("char-ngrams", 41, 41)
    assert any("rejected none" in one["note"] for one in found if one["event"] == "hint")


def test_errors_and_what_others_write_are_json_too(tmp_path):
    done = xmg("--log-json", "cache", "info", tmp_path / "none.h5")
    (error,) = told(done.stderr)
    assert done.returncode == 1 and not done.stdout
    assert (error["command"], error["event"]) == ("cache info", "error")
    assert "none.h5" in error["note"]
    done = xmg("--log-json", "evaluate")
    assert done.returncode == 2 and {one["event"] for one in told(done.stderr)} == {"output"}


BUG = """
import sys, warnings
import xmg.cache.read as read
read.FeatureFile = lambda path: warnings.warn("late")
sys.argv = ["xmg", "--log-json", "cache", "info", "x.h5"]
"""


def test_a_bug_and_a_warning_are_json_too():
    done = subprocess.run(
        [sys.executable, "-c", BUG + MAIN], capture_output=True, text=True, check=False
    )
    *before, last = told(done.stderr)
    assert done.returncode == 1 and last["event"] == "error"
    assert last["note"].startswith("Traceback") and "AttributeError" in last["note"]
    assert any("late" in one["note"] for one in before if one["event"] == "output")


def test_lines_that_libraries_write_in_pieces(tmp_path):
    with open(tmp_path / "log", "w+") as stream:
        events = Events(stream)
        for piece in ("one\n", "two", " halves\r", "three\r\n\n", "\x1b[31mred", ""):
            events.write(piece)
        assert events.finish() is stream
        stream.seek(0)
        notes = [one["note"] for one in told(stream.read())]
    assert notes == ["one", "two halves", "three", "\x1b[31mred"]


def test_lines_come_every_few_seconds_where_a_tenth_takes_long(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.lines("job", said.append) as update:
        for i in range(100):
            now[0] = float(i)
            update(i, 100_000)
    assert len(said) == 20 and said[0] == "job: 0 of 100,000 (0%)"
    assert said[1] == "job: 5 of 100,000 (0%), about 1 day, 3:46:35 left"


def test_an_empty_task_is_done_at_once():
    said = []
    with progress.lines("job", said.append) as update:
        update(0, 0)
    assert said == ["job: 0 of 0 (100%)"]
