"""Whether data can serve the tasks of a configuration, and which tasks they can serve."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from xmg.cache import XmgError
from xmg.cache.counted import counted
from xmg.engine.config import Config
from xmg.engine.data.pool import Pool

if TYPE_CHECKING:
    from xmg.engine.data.problem import Problem

Split = Callable[[Config], "Problem"]


class TooFewError(XmgError):
    """Too few classes or pairs to split at all; the message has no fix yet."""


def served(split: Split, config: Config) -> "Problem":
    """Split the data for a configuration; raises XmgError with all that they lack, all that is
    needed, and the nearest settings that they can serve."""
    try:
        problem = split(config)
        lacking = [*_lacking(problem, config)]
    except TooFewError as error:
        lacking = [str(error)]
    if lacking:
        n_rows = max(config.shots) + config.n_query
        raise XmgError(
            f"the data cannot serve {config.n_way}-way tasks: {'; '.join(lacking)}.\n"
            f"needed are {config.n_way} target classes for meta-validation and as many others for "
            f"meta-test, each of {n_rows} rows (shots + queries), and to train on {config.n_way} "
            f"source classes of {config.n_shots} rows (k_shot) and two sets of pairs.\n"
            f"fix: {_fix(split, config)}"
        )
    return problem


def _lacking(problem: "Problem", config: Config) -> Iterator[str]:
    n_rows = max(config.shots) + config.n_query
    held = {"meta-validation": problem.validation.target, "meta-test": problem.test.target}
    for what, pool in held.items():
        if len(pool.classes) < config.n_way:
            yield f"{what} has {counted(len(pool.classes), 'class')} of {pool.file.path}"
        yield from too_small(pool, n_rows, what)
    source, n_sets = problem.train.source, len(problem.train.sets)
    if len(source.classes) < config.n_way:
        left, rows = counted(len(source.classes), "class"), counted(config.n_shots, "row")
        yield f"{source.file.path} has {left} left of {rows} to train on"
    if n_sets < 2:
        yield "the pairs form a single set, and negatives are of another one"


def too_small(pool: Pool, n_rows: int, what: str) -> Iterator[str]:
    """The class of fewest rows, where it has fewer than n_rows."""
    if len(pool.sizes) and int(pool.sizes.min()) < n_rows:  # which may be beyond 64 bits
        least = int(pool.sizes.argmin())
        yield (
            f"class {pool.classes[least]!r} of {pool.file.path} has "
            f"{counted(int(pool.sizes[least]), 'row')}, and {what} needs {n_rows}"
        )


def _fix(split: Split, config: Config) -> str:
    """Options that have been tried: of the most classes a task, sets as they are where they can."""
    n_way, kinds = config.n_way, ("label",) if config.concepts else (config.sets, "id")
    while n_way >= 2:
        for sets in dict.fromkeys(kinds):
            least = config.model_copy(update={"n_way": n_way, "sets": sets, "k_shot": 1})
            try:
                tried = _lowered(split(least), least, config)
                if tried and not [*_lacking(split(tried), tried)]:
                    return _words({n: v for n, v in tried if v != getattr(config, n)})
            except XmgError:
                continue
        n_way = n_way * 9 // 10  # one less, where tasks are small
    return "extract more classes, or more rows of each"


def _lowered(problem: "Problem", least: Config, config: Config) -> Config | None:
    """With no more rows of a class than there are; None where there are too few for any task."""
    sizes = np.concatenate([problem.validation.target.sizes, problem.test.target.sizes])
    sources = np.sort(problem.train.source.sizes)[::-1]
    if not len(sizes) or sizes.min() < 2 or len(sources) < least.n_way:
        return None
    n_rows, n_drawn = int(sizes.min()), int(sources[least.n_way - 1])
    most = n_rows - (config.n_query + 1) // 2  # half of the queries stay, where they can
    fewest = min(n_rows // 2, *config.shots)
    shots = tuple(k for k in config.shots if k <= most) or (fewest,)
    rows = {"shots": shots, "n_query": min(config.n_query, n_rows - max(shots))}
    k_shot = min(config.k_shot, n_drawn // least.n_shots)
    return least.model_copy(update={**rows, "k_shot": k_shot}) if k_shot else None


def _words(found: Mapping[str, Any]) -> str:
    """Such as `--shots 1,5, and k_shot = 2 in a --config file (in a spec shots = [1, 5], ...)`."""
    options = [
        f"--{name.replace('_', '-')} {','.join(map(str, v)) if isinstance(v, tuple) else v}"
        for name, v in found.items()
        if name != "k_shot"
    ]
    in_file = [f"k_shot = {found['k_shot']} in a --config file"] if "k_shot" in found else []
    words = ", and ".join([" ".join(options)][: len(options)] + in_file)
    lists = {n: [*v] if isinstance(v, tuple) else v for n, v in found.items()}
    spec = ", ".join(f"{name} = {json.dumps(value)}" for name, value in lists.items())
    return f"{words} (in a spec {spec})"
