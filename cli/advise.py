"""xmg advise: does alignment promise to help here?"""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xmg.cli.advice_text import show
from xmg.cli.console import parse_shots, progress_bar
from xmg.cli.escaping import shown
from xmg.cli.settings import (
    Concepts,
    Further,
    NQuery,
    NWay,
    Pairs,
    Seed,
    Sets,
    Shots,
    Source,
    Target,
    settings_of,
)

if TYPE_CHECKING:
    from xmg.engine.analysis.advice import Advice
    from xmg.engine.config import Config


def advise(
    source: Source,
    target: Target,
    concepts: Concepts = None,
    pairs: Pairs = None,
    sets: Sets = None,
    shots: Shots = None,
    n_way: NWay = None,
    n_query: NQuery = None,
    seed: Seed = None,
    config: Further = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Does alignment promise to help here? An answer in about a minute, before you train.

    How alike the two feature spaces are, how many labels the pairs are worth, and which row to use.
    It reads no test class. docs/advise.md explains each figure.

    Example: xmg advise text.h5 speech.h5 --shots 1,5,10
    """
    from xmg.engine.analysis.advice import advise as run

    options = {
        "concepts": concepts,
        "pairs": pairs,
        "sets": sets,
        "shots": parse_shots(shots),
        "n_way": n_way,
        "n_query": n_query,
        "seed": seed,
    }
    whole = settings_of(source, target, config, options)
    with progress_bar("advise") as update:
        found = run(whole, update)
    follow = next_step(found, whole, config)
    if as_json:
        typer.echo(to_json(found, follow))
    else:
        show(found)
        typer.echo(follow)


def to_json(found: "Advice", follow: str) -> str:
    """One object; what is infinite, beyond a curve, is null."""
    said = {"system": found.system, "sure": found.sure, "next": follow}
    return json.dumps({**said, **_named(asdict(found))}, indent=1)


def _named(value: Any) -> Any:
    """The same with the names of tuples, and null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): _named(one) for key, one in value.items()}
    if hasattr(value, "_asdict"):
        return _named(value._asdict())
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def next_step(found: "Advice", config: "Config", file: Path | None) -> str:
    """What to type next: a command, or a spec for xmg ablate where a row takes no training.

    Such a row is no model that xmg predict reads, so that a run is named for it too.
    """
    train = _training(config, file)
    if found.system == "croma":
        return f"next: {train}"
    return (
        "next: save this as check.toml, and type: xmg ablate check.toml\n"
        f"xmg predict and xmg export take a run, not this row: {train}\n"
        "A run weighs the target's own whitened features beside the aligned ones, and leans on "
        f"them unless held-out classes show that the pairs help.\n\n{_spec(found, config)}"
    )


def _training(config: "Config", file: Path | None) -> str:
    """The command that meta-trains with the settings of a config."""
    words = ["xmg", "meta-train", str(config.source), str(config.target), "--run", "RUN"]
    given = {name: getattr(config, name) for name in ("n_way", "n_query", "seed")}
    given |= {"shots": ",".join(map(str, config.shots)), "config": file, "pairs": config.pairs}
    given |= {"concepts": config.concepts} if config.concepts else {"sets": config.sets}
    for name, value in given.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return shown(shlex.join(words))


def _spec(found: "Advice", config: "Config") -> str:
    """The row without training on test classes, beside the one it was compared with."""
    from xmg.engine.ablation.spec import OWN
    from xmg.engine.config import FILES

    files = {name: getattr(config, name) for name in FILES}
    lines = [f"{name} = {_toml(str(path))}" for name, path in files.items() if path]
    systems = ["class-mean-whitened", "canonical"]
    lines += [f"systems = {_toml(systems)}", f"reference = {_toml(found.system)}"]
    lines += [f"shots = {_toml(list(config.shots))}", "seeds = 3", "[settings]"]
    given = sorted(config.model_fields_set.difference(OWN))
    return "\n".join(lines + [f"{name} = {_toml(getattr(config, name))}" for name in given])


def _toml(value: Any) -> str:
    """A TOML value that steers no terminal: strings are JSON's, with more of them escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
