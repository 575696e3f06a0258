"""What was looked up in the other modality: one page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from xmg.engine.analysis.lookup import Answer, Hit, other
from xmg.engine.analysis.retrieval import Aligned, Side
from xmg.engine.pages.items import Item, Search, Show, Shown, nothing
from xmg.engine.pages.provenance import files_table, versions_table
from xmg.engine.pages.render import page


def retrieve_page(
    aligned: Aligned,
    answers: Sequence[Answer],
    side: Side,
    lines: Sequence[str],
    show: Show = nothing,
    queries: Mapping[str, Shown] | None = None,
    gallery: Path | None = None,
) -> str:
    """HTML of queries of one side and their hits.

    lines: sentences about queries and gallery. queries: how queries look that are no ids of the
    run's files. gallery: the file that was searched, where it is not the run's own.
    """
    away = other(side)
    raw = queries or {}
    searches = [
        Search(
            Item(a.query, a.label, raw.get(a.query) or show(side, a.query), seen_in_words(a.seen)),
            [Item(h.id, h.label, show(away, h.id), _note(h)) for h in a.hits],
        )
        for a in answers
    ]
    files = {"source": aligned.config.source, "target": aligned.config.target}
    return page(
        "retrieve.html",
        side=side,
        away=away,
        lines=lines,
        searches=searches,
        files=files_table(files | ({"gallery": gallery} if gallery else {})),
        versions=versions_table(),
    )


def _note(hit: Hit) -> str:
    said = seen_in_words(hit.seen)
    return f"{hit.rank}. cosine {hit.cosine:.3f}" + (f", {said}" if said else "")


def seen_in_words(seen: bool | None) -> str:
    """Whether meta-training read a row; "" where that is not known."""
    return "" if seen is None else "seen in training" if seen else "never seen"
