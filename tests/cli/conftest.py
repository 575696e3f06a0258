import json
import os
import shutil
import subprocess
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


ONE_BY_ONE = """
import contextlib, io, json, sys
from xmg.cli.main import main
found = []
for words in json.loads(sys.argv[1]):
    sys.argv, said, status = ["xmg", *words], io.StringIO(), 0
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as stop:
            status = stop.code
    found.append((status, said.getvalue()))
print(json.dumps(found))
"""
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


@pytest.fixture
def denied():
    """Run command lines where nobody may write; returns (status, what was said) of each.

    To root permissions say nothing, but for processes without the capabilities to pass them over.
    """
    prefix = () if os.getuid() else UNPRIVILEGED
    if prefix and (not shutil.which(prefix[0]) or subprocess.call([*prefix, "true"])):
        pytest.skip("root cannot give up its capabilities here")
    closed = []

    def run(folder, *commands):
        if not os.getuid():
            os.chown(folder, 65534, 65534)  # else it is root's own
        folder.chmod(0o555)
        closed.append(folder)
        words = [*prefix, sys.executable, "-c", ONE_BY_ONE, json.dumps(commands)]
        ran = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=True)
        return json.loads(ran.stdout)

    yield run
    for folder in closed:
        folder.chmod(0o755)
