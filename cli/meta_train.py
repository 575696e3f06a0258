"""xmg meta-train."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xmg.cli.completion import SYSTEMS, of
from xmg.cli.console import RANK, hints, parse_shots, progress_bar, say
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
    from xmg.engine.run import State


def meta_train(
    source: Source,
    target: Target,
    run: Annotated[Path, typer.Option("--run", "-r", help="The run folder to make or continue.")],
    concepts: Concepts = None,
    pairs: Pairs = None,
    sets: Sets = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="croma (default), oracle or another that xmg ablate trains: docs/ablation.md.",
            autocompletion=of(*SYSTEMS),
        ),
    ] = None,
    seed: Seed = None,
    n_way: NWay = None,
    n_query: NQuery = None,
    shots: Shots = None,
    iterations: Annotated[int | None, typer.Option(help="Meta-iterations; default 300.")] = None,
    config: Further = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Draw metrics in RUN/tensorboard/ too.")
    ] = False,
) -> None:
    """Meta-train on two feature files; continues where an interrupted run stopped.

    Example: xmg meta-train text.h5 speech.h5 --run runs/speech

    With curves: xmg meta-train text.h5 speech.h5 --run runs/speech --tensorboard
    """
    from xmg.engine.run import read_metrics
    from xmg.engine.train import meta_train as train

    options = {
        "pairs": pairs,
        "sets": sets,
        "system": system,
        "seed": seed,
        "n_way": n_way,
        "n_query": n_query,
        "shots": parse_shots(shots),
        "iterations": iterations,
        "concepts": concepts,
    }
    whole = settings_of(source, target, config, options)
    with progress_bar("meta-train") as update, _curves(run, tensorboard) as follow:

        def progress(done: int, total: int, accuracy: float) -> None:
            update(done, total, accuracy)
            follow()

        best = _trained(partial(train, whole, run, progress), run)
    say(
        f"{run}: best at meta-iteration {best.iteration} of {whole.iterations}, "
        f"meta-validation accuracy {best.best_accuracy:.1%}"
    )
    if best.iteration == 0:
        hints.print("training gained nothing over its start, and the best checkpoint is the start")
    for row in read_metrics(run)[-1:]:  # none where somebody removed them
        solvers = row.get("solvers", {}).items()
        hints.print("inner steps: " + ", ".join(f"{k} by the {v} solver" for k, v in solvers))
    hints.print(f"next: xmg evaluate {run}")


def _trained(work: "Callable[[], State]", run: Path) -> "State":
    """Train; says at the start why nothing moves yet, and after Ctrl-C that nothing was in vain."""
    hints.print("preparing pairs, whitening and starts; a first run compiles its kernels too")
    try:
        return work()
    except KeyboardInterrupt:
        hints.print(f"{run} is not finished; the same command goes on from here")
        raise


@contextmanager
def _curves(run: Path, wanted: bool) -> Iterator[Callable[[], None]]:
    """What draws the metrics, in one process of several; it does nothing where not wanted."""
    if not wanted or RANK:
        yield lambda: None
        return
    from xmg.engine.training.curves import curves

    with curves(run) as follow:
        yield follow
