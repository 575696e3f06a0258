"""Whether Python, xmg's packages and its extras are there, fit together and work."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from typing import Final

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from xmg.cli.doctoring.finding import Finding
from xmg.cli.doctoring.fit import FAMILY, builds, misfits
from xmg.cli.doctoring.probe import Outcome, outcomes

_MODULES: Final = {  # where the name to import is another than that to install
    "faiss-cpu": "faiss",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
}
_OF_TORCH: Final = (*FAMILY, "timm", "transformers", "safetensors", "tensorboard")
_UNKNOWN: Final = "of unknown version"
_LONGEST: Final = 400  # characters of an error
_TOOLS: Final = ("all", "docs", "test")  # extras of extras, and for work on xmg itself


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an installed xmg asks for: its own packages under "", others by extra."""

    python: str
    groups: Mapping[str, Sequence[Requirement]]


def wanted() -> Wanted | None:
    """Read xmg's own metadata; None where it is not installed, only importable."""
    try:
        lines, about = requires("xmg") or [], metadata("xmg")
    except PackageNotFoundError:
        return None
    parsed = [one for one in map(Requirement, lines) if one.name != "xmg"]
    extras = [name for name in about.get_all("Provides-Extra") or [] if name not in _TOOLS]
    groups = {"": [one for one in parsed if _belongs(one, "")]}
    for extra in extras:
        own = [one for one in parsed if _belongs(one, extra) and one not in groups[""]]
        groups[extra] = own
    return Wanted(about["Requires-Python"] or "", {k: v for k, v in groups.items() if v})


def _belongs(one: Requirement, extra: str) -> bool:
    return one.marker is None or one.marker.evaluate({"extra": extra})


def module_of(name: str) -> str:
    """The module of a distribution, such as PIL of pillow."""
    return _MODULES.get(name, name.replace("-", "_"))


def check(asked: Wanted) -> tuple[list[Finding], dict[str, Outcome]]:
    """Try every installed package; returns findings, and by module what each trial told."""
    modules = [module_of(one.name) for group in asked.groups.values() for one in group]
    there = [name for name in dict.fromkeys(modules) if _is_there(name)]
    first = [name for name in _OF_TORCH if name in there]
    second = sorted((name for name in there if name not in first), key=lambda name: name != "numpy")
    tried = outcomes([lane for lane in (first, second) if lane])
    reasons = misfits(builds())
    found = [_python(asked.python)]
    for extra, group in asked.groups.items():
        found += _group(extra, group, tried)
    once = {one.name: one for group in asked.groups.values() for one in group}
    for one in once.values():
        found += _package(one, tried.get(module_of(one.name)), reasons.get(one.name))
    untried = [name for name, outcome in tried.items() if outcome.untried]
    if untried:
        what = f"not tried, since {tried[untried[0]].error}: {', '.join(untried)}"
        found.append(Finding("warning", "packages", what, "mend that first"))
    return found, tried


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _python(wanted: str) -> Finding:
    here = platform.python_version()
    if not SpecifierSet(wanted).contains(here, prereleases=True):
        what = f"{here}; xmg asks for {wanted}"
        return Finding("problem", "python", what, "install xmg for a newer Python")
    return Finding("ok", "python", f"{here} on {platform.system()} {platform.machine()}")


def _group(
    extra: str, group: Sequence[Requirement], tried: Mapping[str, Outcome]
) -> Iterator[Finding]:
    """A line for the packages that work, and one for those that are not there."""
    about = f"extra {extra}" if extra else "packages"
    missing = [one for one in group if module_of(one.name) not in tried]
    good = [one for one in group if one not in missing and not tried[module_of(one.name)].error]
    if good:
        yield Finding("ok", about, ", ".join(f"{one.name} {_version(one.name)}" for one in good))
    if missing:
        names = ", ".join(one.name for one in missing)
        fix = f"pip install 'xmg[{extra}]'" if extra else _install(missing)
        yield Finding("ok" if extra else "problem", about, f"not installed: {names}", fix)


def _package(one: Requirement, outcome: Outcome | None, misfit: str | None) -> Iterator[Finding]:
    """What is wrong with a package that is there."""
    if outcome is None or outcome.untried:
        return
    here = _version(one.name)
    fix = _install_family() if one.name in FAMILY else _install([one])
    if outcome.error:
        what = f"{here} does not work: {' '.join(outcome.error.split())[:_LONGEST]}"
        yield Finding("problem", one.name, f"{what}; {misfit}" if misfit else what, fix)
        return
    if misfit and one.name != "torchaudio":  # of which only plain torch is used, once it loads
        yield Finding("warning", one.name, f"{misfit}; they load, and may fail in use", fix)
    if here != _UNKNOWN and not one.specifier.contains(here, prereleases=True):
        yield Finding("warning", one.name, f"{here}; xmg asks for {one.specifier}", fix)


def _version(name: str) -> str:
    try:
        return version(name) or _UNKNOWN
    except PackageNotFoundError:  # of another distribution, such as faiss-gpu
        return _UNKNOWN


def _install(group: Sequence[Requirement]) -> str:
    return "pip install --force-reinstall --no-deps " + " ".join(
        f"'{one.name}{one.specifier}'" for one in group
    )


def _install_family() -> str:
    """All that are there at once, so that pip picks builds that fit."""
    asked = {one.name: one for group in (wanted() or _NOTHING).groups.values() for one in group}
    family = [asked[name] for name in FAMILY if name in asked and _is_there(name)]
    names = " ".join(f"'{one.name}{one.specifier}'" for one in family)
    return f"pip install --upgrade --force-reinstall {names}  # all from one index"


_NOTHING: Final = Wanted("", {})
