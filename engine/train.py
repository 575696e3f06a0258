"""Meta-training: loop, meta-validation, checkpoints, resume."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from xmg.cache import XmgError
from xmg.engine.compute import flushed_denormals
from xmg.engine.config import Config
from xmg.engine.evaluate import validation_accuracy
from xmg.engine.fronts import fit_fronts
from xmg.engine.inner import clone
from xmg.engine.manifest import write_manifest
from xmg.engine.methods import croma
from xmg.engine.problem import MetaTrain, MetaValidation, open_problem
from xmg.engine.run import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    State,
    append_metrics,
    load_config,
    load_state,
    read_metrics,
    save_state,
    write_text,
)
from xmg.engine.tasks import validation_tasks

Progress = Callable[[int, int, float], None]  # iteration, iterations, best accuracy
_AHEAD = 2  # episodes prepared while one trains


@flushed_denormals()
def meta_train(config: Config, run: Path, progress: Progress | None = None) -> State:
    """Meta-train CROMA into the run folder `run`; returns the state at the best validation.

    A folder that holds an unfinished run of the same settings is continued, to the same result
    as without the interruption; a finished one is left as it is. Raises XmgError where it
    holds a run of other settings.
    """
    _claim(run, config)
    problem = open_problem(config)
    if (run / LAST).exists():
        state = load_state(run / LAST)
        _forget_metrics_after(run, state.iteration)
    else:
        state = _begin(problem.train, config)
        write_manifest(run, problem, config)
        write_text(run / METRICS, "")
    if state.iteration < config.iterations:
        _loop(problem.train, problem.validation, config, run, state, progress)
    return load_state(run / BEST)


def _claim(run: Path, config: Config) -> None:
    """Make the folder this config's; raises XmgError where it is another's."""
    if (run / CONFIG).exists():
        other = load_config(run)
        for name, value in config:
            if getattr(other, name) != value:
                raise XmgError(
                    f"{run} holds a run with {name} = {getattr(other, name)}, not {value}.\n"
                    f"fix: choose another --run, or remove that folder"
                )
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise XmgError(f"{run} exists and is no run folder. fix: choose another --run")
    open_problem(config)  # nothing is left behind where the data cannot serve
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / CONFIG, config.model_dump_json(indent=1))


def _begin(train: MetaTrain, config: Config) -> State:
    fronts = fit_fronts(train, config.width)
    return State(croma.start(train, fronts, config), fronts, 0, -1.0, 0)


def _loop(
    train: MetaTrain,
    validation: MetaValidation,
    config: Config,
    run: Path,
    state: State,
    progress: Progress | None,
) -> None:
    """Train to the last iteration, validating and saving at every validate_every-th."""
    theta, fronts = clone(state.theta), state.fronts
    tasks = validation_tasks(validation, config, config.shots)
    best, began = (state.best_accuracy, state.best_iteration), time.monotonic()
    for i, episode in _episodes(train, config, state.iteration):
        losses = croma.meta_iteration(theta, croma.whiten(episode, fronts), config)
        done = i + 1
        if done % config.validate_every == 0 or done == config.iterations:
            accuracy = validation_accuracy(croma.learner(theta, fronts), tasks, config.tau)
            better = accuracy > best[0]
            best = (accuracy, done) if better else best
            now = State(theta, fronts, done, *best)
            seconds = round(time.monotonic() - began, 3)
            row = {"iteration": done, **losses, "validation_accuracy": accuracy, "seconds": seconds}
            append_metrics(run, row)
            if better:
                save_state(run / BEST, now)
            save_state(run / LAST, now)
        if progress:
            progress(done, config.iterations, max(best[0], 0.0))


def _episodes(train: MetaTrain, config: Config, first: int) -> Iterator[tuple[int, croma.Episode]]:
    """Yield (i, raw episode i), the next ones being fetched by another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[Future[croma.Episode]] = deque()
        for i in range(first, config.iterations):
            for j in range(i + len(pending), min(i + _AHEAD + 1, config.iterations)):
                pending.append(pool.submit(croma.draw, train, config, j))
            yield i, pending.popleft().result()


def _forget_metrics_after(run: Path, iteration: int) -> None:
    rows = [row for row in read_metrics(run) if row["iteration"] <= iteration]
    write_text(run / METRICS, "")
    for row in rows:
        append_metrics(run, row)
