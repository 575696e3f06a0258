"""Packages that break in every way, each tried beside a sound one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from xmg.cli.doctoring.probe import outcomes

BROKEN = {
    "raises": ("raise OSError('libfoo.so.1: cannot open')", "OSError: libfoo.so.1: cannot open"),
    "leaves": ("raise SystemExit(3)", "SystemExit: 3"),
    "exits": ("import os, sys; print('bye', file=sys.stderr, flush=True); os._exit(7)", "7: bye"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV"),
    "misses": ("import no_such_package_anywhere", "No module named 'no_such_package_anywhere'"),
    "misspells": ("def", "SyntaxError"),
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a package of this text on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, text=""):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return make


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_package_stops_no_other(fake, how):
    text, reason = BROKEN[how]
    names = [fake("sound_one"), fake(f"fake_{how}", text), fake("sound_two")]
    found = outcomes([names])
    assert set(found) == set(names)
    assert found["sound_one"].error is None and found["sound_two"].error is None
    assert reason in found[f"fake_{how}"].error


def test_a_package_that_hangs_is_given_up(fake):
    names = [fake("sound_one"), fake("fake_hang", "import time; time.sleep(600)")]
    found = outcomes([names], timeout=5)
    assert "does not load within 5 s" in found["fake_hang"].error


def test_what_needs_a_broken_package_is_not_tried(fake):
    lane = [
        fake("fake_base", "raise ValueError('wrong')"),
        fake("needs_it", "import os; os._exit(0)"),
    ]
    found = outcomes([lane, [fake("apart")]])
    assert found["fake_base"].error == "ValueError: wrong"
    assert found["needs_it"].error == "fake_base does not load" and found["needs_it"].untried
    assert found["apart"].error is None and not found["fake_base"].untried


def test_packages_that_print_disturb_nothing(fake):
    text = "import os; print('{\"end\": 1}'); os.write(1, b'noise\\n')"
    found = outcomes([[fake("noisy", text), fake("quiet")]])
    assert [one.error for one in found.values()] == [None, None]


def test_ctrl_c_waits_for_no_package(fake, tmp_path):
    begun = [tmp_path / "one", tmp_path / "other"]
    hang = "open({!r}, 'w'); import time; time.sleep(600)"
    lanes = [[fake(f"hang_{path.name}", hang.format(str(path)))] for path in begun]
    script = (
        "import signal; from xmg.cli.doctoring.probe import outcomes; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # also in a background
        f"outcomes({lanes!r})"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
    )
    try:
        while not all(path.exists() for path in begun):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert b"KeyboardInterrupt" in err
    finally:
        process.kill()
