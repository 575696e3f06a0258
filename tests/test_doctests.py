"""Examples in docstrings do what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import xmg

ROOT = Path(xmg.__file__).parent


def modules():
    """Names of all modules that hold examples; the rooms may be links."""
    for folder in (ROOT, *(path for path in ROOT.iterdir() if path.is_dir())):
        found = folder.glob("*.py") if folder == ROOT else folder.resolve().rglob("*.py")
        for path in found:
            if ">>> " in path.read_text(encoding="utf-8"):
                room = () if folder == ROOT else (folder.name,)
                parts = path.relative_to(folder.resolve()).with_suffix("").parts
                yield ".".join(("xmg", *room, *parts)).removesuffix(".__init__")


MODULES = sorted(modules())


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed


def test_the_api_has_examples():
    assert {"xmg", "xmg.engine.predict.classifier"} <= set(MODULES)
