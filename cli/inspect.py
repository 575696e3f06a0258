"""xmg inspect."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xmg.cli.escaping import shown

if TYPE_CHECKING:
    from xmg.engine.analysis.predictions import Example
    from xmg.engine.analysis.retrieval import Retrieval


def inspect(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    shots: Annotated[
        int | None, typer.Option(min=1, help="Labels per class; default: the run's first.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Predictions to show.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Retrieval across modalities, and predictions with the training pairs nearest to each query.

    Example: xmg inspect runs/speech --shots 5 --examples 10
    """
    from xmg.engine.analysis.predictions import examples as predict
    from xmg.engine.analysis.retrieval import retrieval
    from xmg.engine.run import load_config

    k = shots or load_config(run).shots[0]
    predicted = predict(run, k, examples) if examples else []
    found = retrieval(run)
    if as_json:
        typer.echo(to_json(found, predicted))
        return
    console = Console(width=None, highlight=False)
    console.print(retrieval_table(found))
    if predicted:
        console.print()
        console.print(examples_table(predicted))


def to_json(found: "Sequence[Retrieval]", predicted: "Sequence[Example]") -> str:
    """One object with "retrieval" and "examples"."""
    rows = [asdict(row) for row in found]
    return json.dumps(
        {"retrieval": rows, "examples": [{**asdict(e), "right": e.right} for e in predicted]},
        indent=1,
    )


def retrieval_table(found: "Sequence[Retrieval]") -> Table:
    """Recall in percent by direction, with that of chance in brackets."""
    from xmg.engine.analysis.retrieval import RIGHT

    seen = any(row.seen for row in found)
    what = "concepts seen in meta-training" if seen else "pairs of unseen classes"
    title = f"retrieval among {what}: recall (%), by chance in brackets"
    table = Table(title=title, title_justify="left")
    table.add_column("query → gallery")
    table.add_column("right")
    for name in ("queries", "gallery", *(f"@{k}" for k in found[0].recall), "median rank"):
        table.add_column(name, justify="right")
    for row in found:
        recalls = (f"{100 * r:.1f} ({100 * row.chance[k]:.1f})" for k, r in row.recall.items())
        sizes = f"{row.n_queries:,}", f"{row.n_gallery:,}"
        ways = f"{row.queries} → {row.gallery}", RIGHT[row.right]
        table.add_row(*ways, *sizes, *recalls, f"{row.median_rank:g}")
    return table


def examples_table(predicted: "Sequence[Example]") -> Table:
    """A section for each query, a line for each pair near it."""
    title = f"{predicted[0].shots}-shot predictions, and the training pairs nearest to each query"
    table = Table(title=title, title_justify="left")
    for name in ("query", "true", "predicted"):
        table.add_column(name)
    table.add_column("cosine", justify="right")
    for name in ("set", "target of the pair", "source of the pair"):
        table.add_column(name)
    for example in predicted:
        head = _head(example)
        for i, pair in enumerate(example.pairs):
            first = head if i == 0 else ("", "", "")
            names = map(_plain, (pair.name, pair.target, pair.source))
            table.add_row(*first, f"{pair.cosine:.3f}", *names)
        table.add_section()
    return table


def _head(example: "Example") -> tuple[str, str, str]:
    p = example.scores[example.predicted]
    style = "green" if example.right else "red"
    predicted = f"[{style}]{_plain(example.predicted)} {100 * p:.0f}%[/{style}]"
    return _plain(example.query), _plain(example.true), predicted


def _plain(text: str) -> str:
    """Text of data: neither markup nor what steers a terminal."""
    return escape(shown(text))
