"""Meta-training: loop, meta-validation, checkpoints, resume."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from xmg.cache import XmgError
from xmg.cache.ranks import Ranks
from xmg.cache.writing import disk
from xmg.cache.writing.lock import locked
from xmg.engine.compute import flushed_denormals, one_blas_thread, one_thread_each
from xmg.engine.config import Config
from xmg.engine.data.problem import Problem, open_problem
from xmg.engine.data.room import check_room
from xmg.engine.data.tasks import Tasks, validation_tasks
from xmg.engine.data.views import Trainable
from xmg.engine.evaluate import validation_accuracy
from xmg.engine.manifest import check_manifest, make_manifest
from xmg.engine.methods.system import Trained, learner
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.model.heads import Theta
from xmg.engine.model.whitening import SHRINKAGES
from xmg.engine.run import (
    BEST,
    CONFIG,
    EPISODES,
    LAST,
    LOCK,
    METRICS,
    State,
    append_metrics,
    has_checkpoint,
    load_config,
    load_state,
    read_metrics,
    replace_text,
    restore,
    save_state,
)
from xmg.engine.systems import TRAINED
from xmg.engine.training.advance import advancing, device_of
from xmg.engine.training.meta_learn import begin
from xmg.engine.training.ranks import joined

Progress = Callable[[int, int, float], None]  # iteration, iterations, best accuracy


@flushed_denormals()
def meta_train(config: Config, run: Path, progress: Progress | None = None) -> State:
    """Meta-train config.system into the run folder `run`; returns the state at the best validation.

    A folder that holds an unfinished run of the same settings is continued, to the same result
    as without the interruption; a finished one is left as it is. progress(done, iterations, best
    accuracy) is called after each meta-iteration. Raises XmgError where the folder holds a run of
    other settings or of other features, or another process trains into it.
    """
    system = TRAINED[config.system]
    _refuse_another(run, config)
    ranks = joined(config, any(stage.ordinary for stage in system.stages))
    device_of(config)  # before anything is written
    problem = open_problem(config)
    check_room(problem, config)
    view = system.view(problem, config)
    system.check(view, config)
    tasks = validation_tasks(problem.validation, config, config.shots)
    with ExitStack() as held:
        ranks.first(lambda: _prepare(run, problem, view, tasks, config, held))
        # from the disk even when new: products of tensors round by how these lie in memory
        _loop(view, tasks, config, run, load_state(run / LAST), progress, ranks)
        ranks.first(lambda: None)  # the last checkpoint is written
        return load_state(run / BEST)


@one_thread_each(1)
@one_blas_thread()
def _prepare(
    run: Path,
    problem: Problem,
    view: Trainable,
    tasks: Mapping[int, Tasks],
    config: Config,
    held: ExitStack,
) -> None:
    """See to it that the folder is ours and holds a state to go on from, and what it belongs to.

    On one thread, as the loop that follows: a product rounds by the number of threads that share
    it, and in hundreds of steps its last digit grows until another checkpoint is best.
    """
    new = not has_checkpoint(run)
    manifest = make_manifest(problem, config) if new else ""
    state = _begin(TRAINED[config.system], view, tasks, config) if new else None
    run.mkdir(parents=True, exist_ok=True)  # only now: where data cannot serve, nothing is left
    held.enter_context(locked(run / LOCK, run))
    _refuse_another(run, config)  # one that another process has made meanwhile
    for draft in run.glob(f"*{disk.DRAFT}"):
        draft.unlink()  # of a process that was killed
    if state is None or has_checkpoint(run):
        check_manifest(run, problem, config, config.shots)
        _forget_metrics_after(run, restore(run).iteration)
        return
    replace_text(run / CONFIG, config.model_dump_json(indent=1))
    replace_text(run / EPISODES, manifest)
    replace_text(run / METRICS, "")
    _record(run, state, tasks, config, {})


def _refuse_another(run: Path, config: Config) -> None:
    """Raise XmgError where the folder holds anything but a run of this config."""
    if not str(run).isprintable():
        raise XmgError(f"the run folder's name {str(run)!r} is not printable. fix: choose another")
    if not (run / CONFIG).exists():
        there = run.exists() or run.is_symlink()  # it may lead to itself, or nowhere
        if there and (not run.is_dir() or any(not _is_trace(p) for p in run.iterdir())):
            raise XmgError(f"{run} exists and is no run folder. fix: choose another --run")
        return
    other = load_config(run)
    for name, value in config:
        if getattr(other, name) != value:
            raise XmgError(
                f"{run} holds a run with {name} = {getattr(other, name)}, not {value}.\n"
                f"fix: choose another --run, or remove that folder"
            )


def _is_trace(path: Path) -> bool:
    """Whether a process that died before its first checkpoint may have left the file."""
    return path.suffix == disk.DRAFT or path.name == LOCK


def _begin(system: Trained, view: Trainable, tasks: Mapping[int, Tasks], config: Config) -> State:
    """The state before training; of several fronts and starts those that meta-validation finds
    best."""
    given = config.front_shrinkage
    shrinkages = SHRINKAGES if given == "best" else (given,)
    kinds = system.starts if config.start == "best" else (config.start,)
    found = [
        (fronts, system.start(view, fronts, config.model_copy(update={"start": kind})))
        for fronts in fit_fronts(view, config.front_width, shrinkages)
        for kind in kinds
    ]
    fronts, theta = found[0]
    if len(found) > 1:
        learners = [learner(theta, fronts, config) for fronts, theta in found]
        accuracies = [validation_accuracy(one, tasks, config.tau) for one in learners]
        fronts, theta = found[accuracies.index(max(accuracies))]
    return State(theta, begin(theta, system.stages, config), fronts, 0, -1.0, 0)


def _loop(
    view: Trainable,
    tasks: Mapping[int, Tasks],
    config: Config,
    run: Path,
    state: State,
    progress: Progress | None,
    ranks: Ranks,
) -> None:
    """Train to the last iteration; rank 0 validates and saves at every validate_every-th."""
    began = time.monotonic()
    stages = TRAINED[config.system].stages
    with advancing(view, state, stages, config, ranks) as advance:
        for i, each, solvers, theta, outer in advance:
            done, losses = i + 1, _mean(each)
            _refuse_divergence(run, config, done, losses, theta)
            due = done % config.validate_every == 0 or done == config.iterations
            if due and ranks.rank == 0:
                seconds = round(time.monotonic() - began, 3)
                now = replace(state, theta=_cpu(theta), outer=_cpu(outer), iteration=done)
                measured = {**losses, "seconds": seconds, "solvers": dict(solvers)}
                state = _record(run, now, tasks, config, measured)
            if progress:
                progress(done, config.iterations, state.best_accuracy)


def _cpu(theta: Theta) -> Theta:
    return {name: value.cpu() for name, value in theta.items()}


def _refuse_divergence(
    run: Path, config: Config, i: int, losses: Mapping[str, float], theta: Theta
) -> None:
    """Raise XmgError where a loss or a parameter is NaN or infinite; nothing of it is saved."""
    wrong = [name for name, value in losses.items() if not math.isfinite(value)]
    wrong += [name for name, value in theta.items() if not value.isfinite().all()]
    if wrong:
        raise XmgError(
            f"training diverged at meta-iteration {i}: {', '.join(wrong)} became NaN or infinite, "
            f"with align_rate {config.align_rate:g}, classify_rate {config.classify_rate:g} and "
            f"meta_step {config.meta_step:g}.\n{run / LAST} keeps the last state that was sound. "
            "fix: lower the rates by ten times in --config, into another --run"
        )


def _record(
    run: Path,
    state: State,
    tasks: Mapping[int, Tasks],
    config: Config,
    measured: Mapping[str, object],
) -> State:
    """Validate, log and save a state; returns it with the best accuracy brought up to date.

    The start counts too: where training only hurts, it is the best checkpoint.
    """
    now = learner(state.theta, state.fronts, config)
    accuracy = validation_accuracy(now, tasks, config.tau)
    better = accuracy > state.best_accuracy
    if better:
        state = replace(state, best_accuracy=accuracy, best_iteration=state.iteration)
        save_state(run / BEST, state)
    row = {"iteration": state.iteration, **measured, "validation_accuracy": accuracy}
    append_metrics(run, row)
    save_state(run / LAST, state)
    return state


def _mean(losses: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(task[name] for task in losses) for name in losses[0]}


def _forget_metrics_after(run: Path, iteration: int) -> None:
    kept = [row for row in read_metrics(run) if row["iteration"] <= iteration]
    replace_text(run / METRICS, "".join(json.dumps(row) + "\n" for row in kept))
