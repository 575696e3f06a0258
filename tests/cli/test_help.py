"""Help answers at once, and each of its examples is one that the command takes."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from xmg.cli.main import app

HEAVY = {"torch", "numba", "scipy", "sklearn", "pydantic", "numpy", "h5py", "transformers"}
IMPORTED = """
import sys
from xmg.cli.main import main
sys.argv = ["xmg", *sys.argv[1:], "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def commands(command, words=()):
    """Every command of the tree, by the words that call it."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from commands(child, (*words, name))
    else:
        yield words, command


ROOT = typer.main.get_command(app)
LEAVES = dict(commands(ROOT))


@pytest.mark.parametrize("words", [(), ("cache",), *LEAVES], ids=" ".join)
def test_help_imports_nothing_heavy(words):
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED, *words], capture_output=True, text=True, check=True
    )
    assert "Usage: xmg" in ran.stdout
    assert not HEAVY & set(ran.stderr.split())


def examples(command):
    """The command lines in a command's help: the rest of each line from `xmg` on."""
    return re.findall(r"^.*[:?] (xmg .+)$", command.help, re.MULTILINE)


def parsed(line):
    """Parse a command line by its command's parser, and run nothing; raises UsageError."""
    name, *words = shlex.split(line)
    command = ROOT
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    command.make_context(name, words)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_examples_that_it_takes(words):
    command = LEAVES[words]
    assert re.search(r"^Example: xmg ", command.help, re.MULTILINE)
    assert examples(command)[0].startswith(" ".join(["xmg", *words]))
    for line in examples(command):
        parsed(line)


@pytest.mark.parametrize(
    "line", ["xmg extract photos/ --encodr resnet50", "xmg evaluate", "xmg inspect a b"]
)
def test_examples_that_a_command_does_not_take_are_noticed(line):
    with pytest.raises(typer.BadParameter.__base__):
        parsed(line)
