"""xmg evaluate."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from xmg.cli.console import parse_shots, progress_bar, say
from xmg.cli.unfinished import say_unfinished
from xmg.cli.verdict import caption, verdict

if TYPE_CHECKING:
    from xmg.engine.evaluate import Result


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run folders; several (seeds) are pooled.", show_default=False),
    ],
    shots: Annotated[
        str | None, typer.Option(help="Labels per class, such as 1,5,10; default: the run's.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Accuracy on classes never seen, beside rows that use no pairs; mean +- std over repeats.

    Example: xmg evaluate runs/speech --shots 1,5,10
    """
    from xmg.engine.meta_test import check_one_table, check_poolable, evaluate_run

    wanted = parse_shots(shots)
    check_poolable(runs)
    if not as_json:
        check_one_table(runs, wanted)
    results: list[list[Result]] = []
    for run in runs:
        say_unfinished(run)
        with progress_bar(f"evaluate {run.name}") as update:
            results.append(evaluate_run(run, wanted, update))
    if as_json:
        typer.echo(to_json(runs, results))
    else:
        print_table(results)
        for line in (caption(runs), *verdict(runs, results)):
            say(line)


def to_json(runs: Sequence[Path], results: "Sequence[Sequence[Result]]") -> str:
    """One object for each run, system and shot count."""
    rows = [
        {
            "run": str(run),
            "system": r.system,
            "shots": r.shots,
            "mean": r.mean,
            "std": r.std,
            "accuracies": r.accuracies,
            "setting": dict(r.setting),
        }
        for run, found in zip(runs, results, strict=True)
        for r in found
    ]
    return json.dumps(rows, indent=1)


def print_table(results: "Sequence[Sequence[Result]]") -> None:
    """Accuracy in percent, mean +- std over the repeats of all runs; best mean in bold."""
    from xmg.engine.meta_test import pool_results

    pooled = {(g[0].system, g[0].shots): _repeats(g) for g in pool_results(results)}
    shots = list(dict.fromkeys(k for _, k in pooled))
    n_repeats = len(next(iter(pooled.values())))
    title = f"accuracy (%) on unseen classes, mean ± std of {n_repeats} repeats"
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    for k in shots:
        table.add_column(f"{k}-shot", justify="right")
    best = {k: max(statistics.fmean(a) for (_, j), a in pooled.items() if j == k) for k in shots}
    for system in dict.fromkeys(name for name, _ in pooled):
        table.add_row(system, *(_cell(pooled[system, k], best[k]) for k in shots))
    Console(width=None, highlight=False).print(table)


def _repeats(group: "Sequence[Result]") -> list[float]:
    return [accuracy for result in group for accuracy in result.accuracies]


def _cell(accuracies: list[float], best: float) -> str:
    mean = statistics.fmean(accuracies)
    std = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    text = f"{100 * mean:.1f} ± {100 * std:.1f}"
    return f"[bold]{text}[/bold]" if mean == best else text
