"""Evaluate finished runs."""

import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from xmg.cache import XmgError
from xmg.engine.config import Config
from xmg.engine.data.problem import Problem, open_problem
from xmg.engine.data.serving import too_small
from xmg.engine.evaluate import Progress, Result, evaluate
from xmg.engine.manifest import check_manifest
from xmg.engine.methods.system import learner
from xmg.engine.run import BEST, CONFIG, State, load_config, load_state
from xmg.engine.systems import CLOSED_FORM, TRAINED
from xmg.engine.training.phases import head_of

WITHOUT_PAIRS = ("pre-training", "class-mean", "class-mean-whitened")  # what the pairs are worth


def evaluate_run(
    run: Path, shots: Sequence[int] | None = None, progress: Progress | None = None
) -> list[Result]:
    """Evaluate a run's best checkpoint and the rows without pairs, on its frozen episodes.

    shots: by default those the run was validated on. progress(done, total) is called after each
    result: a system at a shot count. Raises XmgError where the run or its feature files are
    missing or have changed, or classes are too small.
    """
    return evaluate_opened(*open_run(run, shots), shots, progress)


def evaluate_opened(
    config: Config,
    problem: Problem,
    state: State,
    shots: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """The same of what `open_run` returns."""
    rows = {s.title: s.candidates(s.view(problem, config), config)
            for s in (CLOSED_FORM[name] for name in WITHOUT_PAIRS)}  # fmt: skip
    rows[TRAINED[config.system].title] = [learner(state.theta, state.fronts, config)]
    return evaluate(rows, problem.validation, problem.test, config, shots or config.shots, progress)


def open_run(run: Path, shots: Sequence[int] | None = None) -> tuple[Config, Problem, State]:
    """A finished run's settings, data and best checkpoint; shots as for `evaluate_run`.

    Raises XmgError where the run or its feature files are missing or have changed, or classes are
    too small.
    """
    config = load_config(run)
    shots = shots or config.shots
    problem = open_problem(config)
    for part, what in ((problem.validation, "meta-validation"), (problem.test, "meta-test")):
        for lacking in too_small(part.target, max(shots) + config.n_query, what):
            most = int(part.target.sizes.min()) - config.n_query
            raise XmgError(f"{lacking} (shots + queries). fix: lower --shots to {most} at most")
    check_manifest(run, problem, config, shots)
    state = load_state(run / BEST)
    _check_head(run, config, state)
    return config, problem, state


def _check_head(run: Path, config: Config, state: State) -> None:
    """Raise XmgError where settings were edited since: they name another head than was trained."""
    wanted = set(head_of(config, "target").learns("target"))
    own = {name for name in state.theta if name.startswith("target.")} - {"target.start"}
    if not own <= wanted <= state.theta.keys():
        raise XmgError(
            f"{run / CONFIG} names another head than {BEST} holds. "
            "fix: undo what was edited there, or train a new run in another folder"
        )


def check_poolable(runs: Sequence[Path]) -> None:
    """Raise XmgError where a run is named twice or tasks differ in n_way."""
    if len({os.path.realpath(run) for run in runs}) < len(runs):  # a link may lead to itself
        raise XmgError("a run is named twice, and would count twice. fix: name it once")
    ways = {load_config(run).n_way for run in runs}
    if len(ways) > 1:
        raise XmgError(f"the runs' tasks are {sorted(ways)}-way. fix: evaluate them one by one")


def check_one_table(runs: Sequence[Path], shots: Sequence[int] | None) -> None:
    """Raise XmgError where one table cannot pool the results of runs, before any is evaluated.

    shots: those that all are evaluated at, if not their own.
    """
    configs = map(load_config, runs)
    first, *others = (
        {"system": c.system, "n_repeats": c.n_repeats, "shots": sorted(shots or c.shots)}
        for c in configs
    )
    for name, value in first.items():
        for other in others:
            if other[name] != value:
                fix = "name --shots that all have, or " if name == "shots" else ""
                raise XmgError(
                    f"the runs differ in {name}, {value} and {other[name]}, and one table cannot "
                    f"pool them. fix: {fix}evaluate them one by one"
                )


def pool_results(runs: Sequence[Sequence[Result]]) -> list[list[Result]]:
    """Group the results of several runs by system and shots, in the first run's order."""
    kinds = [{(r.system, r.shots, len(r.accuracies)) for r in run} for run in runs]
    if any(kind != kinds[0] for kind in kinds):
        raise XmgError(
            "the runs differ in rows, shots or repeats, so their results cannot be pooled. "
            "fix: evaluate them one by one"
        )
    order = {(r.system, r.shots): i for i, r in enumerate(runs[0])}
    rows = sorted((r for run in runs for r in run), key=lambda r: order[r.system, r.shots])
    return [list(group) for _, group in groupby(rows, key=lambda r: (r.system, r.shots))]
