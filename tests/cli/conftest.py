import sys

import pytest

from xmg.cli.main import main


@pytest.fixture
def xmg(monkeypatch, capsys):
    """Run a command line in this process; returns (exit status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["xmg", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run
