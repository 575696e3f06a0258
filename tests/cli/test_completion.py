"""Completion as a shell asks for it, by environment variables."""

import os
import subprocess
import sys

import pytest
import typer

from xmg.cli import completion
from xmg.cli.main import app

HEAVY = {"torch", "numba", "scipy", "sklearn", "numpy", "h5py"}  # pydantic is typer's own
ASK = """
import sys
from xmg.cli.main import app
try:
    app(prog_name="xmg")
finally:
    print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def completed(line):
    """What bash is offered for the last word of a line."""
    words = line.split(" ")
    env = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_XMG_COMPLETE": "complete_bash"}
    ran = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env={**os.environ, **env},
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0 and "Traceback" not in ran.stderr
    assert not HEAVY & set(ran.stderr.split())
    return ran.stdout.split()


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("xmg doc", ["doctor"]),
        ("xmg extract photos --encoder resnet1", ["resnet18", "resnet101", "resnet152"]),
        ("xmg extract photos -o x.h5 -e mini", ["minilm"]),
        ("xmg extract photos --layout y", ["yummly28k"]),
        ("xmg meta-train a.h5 b.h5 --system align-cl",
         ["align-classify", "align-classify-adversarial", "align-classify-cycle"]),
        ("xmg pair a.h5 b.h5 --encoder ", ["bert-base-uncased", "minilm", "char-ngrams"]),
        ("xmg pair a.h5 b.h5 --by co", ["cooccurrence"]),
        ("xmg ablate text-to-", ["text-to-image", "text-to-speech"]),
        ("xmg cache ver", ["verify"]),
    ],
)  # fmt: skip
def test_the_shell_is_offered(line, values):
    assert completed(line) == values


def test_names_are_those_of_the_library():
    from xmg.extract.encoders import ENCODERS
    from xmg.extract.sources import LAYOUTS

    assert completion.LAYOUTS == LAYOUTS
    assert set(ENCODERS) < set(completion.encoders(""))


def test_systems_are_those_that_are_trained():
    from xmg.engine.systems import TRAINED

    assert set(completion.SYSTEMS) == set(TRAINED)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell):
    env = {**os.environ, "_XMG_COMPLETE": f"source_{shell}"}
    ran = subprocess.run(
        [sys.executable, "-c", ASK], capture_output=True, text=True, env=env, check=True
    )
    assert "_XMG_COMPLETE" in ran.stdout and "xmg" in ran.stdout


def test_options_that_install_completion_are_there():
    names = {option for one in typer.main.get_command(app).params for option in one.opts}
    assert {"--install-completion", "--show-completion"} <= names
