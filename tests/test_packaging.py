"""What is shipped, and which room may import what."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cache", "extract", "engine", "cli")
ALLOWED = {
    "cache": {"cache"},
    "extract": {"cache", "extract"},
    "engine": {"cache", "engine"},
    "cli": {"cache", "cli", "engine", "extract"},
}
OWNERS = {"h5py": {"cache"}, "typer": {"cli"}, "rich": {"cli"}, "torch": {"extract", "engine"}}
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def imported(path, whole=True):
    """Dotted names that a module imports; with whole=False only those at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if whole else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path):
    return path.relative_to(ROOT).parts[0]


def test_every_package_on_disk_is_shipped():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {p.parent for p in SOURCES if p.name == "__init__.py"}
    on_disk = {"xmg." + ".".join(p.relative_to(ROOT).parts) for p in folders}
    assert {p.parent for p in SOURCES} == folders  # no module outside a package
    assert sorted(listed) == sorted({"xmg", *on_disk})


def test_every_file_beside_the_modules_is_shipped():
    """Specs, their concepts, templates: what an installed command opens."""
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    shipped = {
        path
        for package, patterns in given["package-data"].items()
        for pattern in patterns
        for path in (ROOT / "src" / package.replace(".", "/")).resolve().glob(pattern)
    }
    beside = {
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert beside and beside <= shipped


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    room = room_of(path)
    for name in imported(path):
        package, *rest = name.split(".")
        if package == "xmg" and rest and rest[0] in ROOMS:
            assert rest[0] in ALLOWED[room], name
        assert room in OWNERS.get(package, {room}), name


def test_the_command_line_imports_torch_only_inside_a_command():
    for path in SOURCES:
        if room_of(path) == "cli":
            heavy = ("torch", "numba", "xmg.engine", "xmg.extract.encoders")
            assert not [n for n in imported(path, whole=False) if n.startswith(heavy)], path


def is_unsafe_load(name, node):
    """Whether a call is torch.load without weights_only=True, or np.load with pickles."""
    flags = {k.arg: ast.unparse(k.value) for k in node.keywords}
    unsafe = name == "torch.load" and flags.get("weights_only") != "True"
    return unsafe or flags.get("allow_pickle", "False") != "False"


def calls(path):
    """Dotted name and node of every call in a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_unpickles(path):
    if path == ROOT / "extract" / "sources" / "safe_pickle.py":
        return  # it refuses every class and function
    assert not {name.split(".")[0] for name in imported(path)} & UNPICKLERS - {"pickle"}
    assert not {name for name, _ in calls(path)} & {"pickle.load", "pickle.loads"}
    assert not {"pickle.load", "pickle.loads", "pickle.Unpickler"} & set(imported(path))
    assert not [name for name, node in calls(path) if is_unsafe_load(name, node)]


def test_only_the_command_line_prints():
    aside = {ROOT / "extract" / "sources" / "espeak.py"}  # a process that answers its parent
    printing = {path for path in SOURCES if "print" in {name for name, _ in calls(path)}}
    assert {room_of(path) for path in printing - aside} <= {"cli"}
