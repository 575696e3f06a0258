"""xmg retrieve."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xmg.cache.counted import counted
from xmg.cli.console import hints, say
from xmg.cli.media import AllowOutside, SourceData, TargetData, shower
from xmg.cli.raw import Loading

if TYPE_CHECKING:
    from xmg.cache import FeatureFile
    from xmg.engine.analysis.lookup import Answer
    from xmg.engine.analysis.retrieval import Aligned, Side

_SIDES: Final = ("source", "target")


def retrieve(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    queries: Annotated[
        list[str],
        typer.Argument(help="Ids of the run's file; or files, or texts.", show_default=False),
    ],
    side: Annotated[
        str | None,
        typer.Option("--from", help="The queries' modality, source or target; of ids it is found."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results of each query.")] = 10,
    gallery: Annotated[
        Path | None,
        typer.Option(help="Feature file to search, in place of the run's of that modality."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="What made the file, where its own name does not find it."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the encoder, for files and texts.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="A torch device, for files and texts.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A page to write too.")] = None,
    source_data: SourceData = None,
    target_data: TargetData = None,
    allow_outside: AllowOutside = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Ask in one modality, and get the nearest rows of the other, by cosine in the aligned space.

    A query that is no id is a file or a text, and the encoder of that modality's file reads it.

    Example: xmg retrieve runs/sounds dog/0001.jpg -k 5 -o dog.html --target-data esc50/

    Example: xmg retrieve runs/speech "Deutschland, Frankreich" --from source
    """
    from xmg.cache import FeatureFile
    from xmg.cache.outputs import appearing, check_own
    from xmg.cli.asking import ask
    from xmg.engine.analysis.lookup import Answer, look_up, other
    from xmg.engine.analysis.retrieval import open_aligned
    from xmg.engine.pages.render import HEAD
    from xmg.engine.pages.retrieve_page import retrieve_page

    if side not in {None, *_SIDES}:
        raise typer.BadParameter(f"--from is source or target, not {side!r}")
    if out is None and (source_data or target_data):
        raise typer.BadParameter("data are shown on a page. fix: name one by -o page.html")
    if out:
        check_own(out, ".html", HEAD, overwrite, queries)
    show = shower(run, source_data, target_data, allow_outside)
    aligned = open_aligned(run)
    asked = ask(aligned, queries, side, Loading(encoder, weights, device))
    found = FeatureFile(gallery) if gallery else None
    hits = look_up(aligned, asked.side, asked.z, k, found)
    answers = [
        Answer(q, label, seen, of)
        for q, label, seen, of in zip(queries, asked.labels, asked.seen, hits, strict=True)
    ]
    searched = found or getattr(aligned, other(asked.side))
    lines = said(run, asked.side, searched, _seen_count(aligned, asked.side, gallery))
    if as_json:
        say(to_json(run, asked.side, searched.path, answers))
    else:
        print_tables(answers, lines)
    if out:
        text = retrieve_page(aligned, answers, asked.side, lines, show, asked.shown, gallery)
        with appearing(out) as file:
            file.write(text.encode("utf-8", "replace"))
        hints.print(f"wrote {out}")


def _seen_count(aligned: "Aligned", side: "Side", gallery: Path | None) -> int | None:
    from xmg.engine.analysis.lookup import other, seen_rows

    return None if gallery else len(seen_rows(aligned, other(side)))


def said(run: Path, side: "Side", searched: "FeatureFile", n_seen: int | None) -> list[str]:
    """What was searched, and whether training saw it."""
    seen = (
        "another file than the run's: whether meta-training saw these inputs is not known"
        if n_seen is None
        else f"meta-training read {n_seen:,} of them"
    )
    return [
        f"Run {run.resolve().name}: queries of the {side}, {counted(len(searched), 'row')} of "
        f"{searched.path.name} searched; {seen}."
    ]


def to_json(run: Path, side: "Side", gallery: Path, answers: "Sequence[Answer]") -> str:
    """One object with "answers"."""
    head = {"run": str(run), "from": side, "gallery": str(gallery)}
    return json.dumps({**head, "answers": [asdict(answer) for answer in answers]}, indent=1)


def print_tables(answers: "Sequence[Answer]", lines: Sequence[str]) -> None:
    """A table for each query, and what is to be known of the gallery."""
    from xmg.engine.pages.render import plain
    from xmg.engine.pages.retrieve_page import seen_in_words

    console = Console(width=None, highlight=False)
    for answer in answers:
        known = [x for x in (answer.label, seen_in_words(answer.seen)) if x]
        note = f" ({', '.join(known)})" if known else ""
        table = Table(title=escape(plain(answer.query + note)), title_justify="left")
        table.add_column("rank", justify="right")
        table.add_column("cosine", justify="right")
        for name in ("class", "id", "meta-training"):
            table.add_column(name, overflow="fold")  # ids are for use
        for hit in answer.hits:
            names = (escape(plain(x)) for x in (hit.label or "-", hit.id))
            table.add_row(str(hit.rank), f"{hit.cosine:.3f}", *names, seen_in_words(hit.seen))
        console.print(table)
    for line in lines:
        console.print(line, markup=False)
