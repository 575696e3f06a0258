"""The report of a run: one page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xmg.cache import XmgError
from xmg.engine.analysis.predictions import predict
from xmg.engine.analysis.retrieval import (
    RIGHT,
    Aligned,
    Retrieval,
    aligned_of,
    has_source_head,
    items_of,
    measure,
)
from xmg.engine.evaluate import Progress
from xmg.engine.meta_test import evaluate_opened, open_run
from xmg.engine.pages import provenance
from xmg.engine.pages.accuracy import accuracy
from xmg.engine.pages.confusion import confusion
from xmg.engine.pages.curves import curves
from xmg.engine.pages.figures import check_drawing
from xmg.engine.pages.items import Show, directions, nothing
from xmg.engine.pages.render import page
from xmg.engine.pages.space import space_map
from xmg.engine.run import EPISODES, read_metrics
from xmg.engine.systems import TRAINED
from xmg.engine.tables import Table


def run_page(
    run: Path,
    shots: Sequence[int] | None = None,
    show: Show = nothing,
    progress: Progress | None = None,
) -> str:
    """HTML of everything that is known of a finished run.

    shots: by default those of the run. show: what an id's input looks or sounds like.
    Raises XmgError as `open_run`, and where a package that plots is missing.
    """
    check_drawing()  # now, and not after minutes
    config, problem, state = opened = open_run(run, shots)
    results = evaluate_opened(*opened, shots, progress)
    title = TRAINED[config.system].title
    aligned = aligned_of(*opened) if has_source_head(state) else None
    files = {"source": config.source, "target": config.target}
    return page(
        "run.html",
        name=run.resolve().name,
        system=title,
        config=config,
        state=state,
        pairs=provenance.pairs_in_words(problem, config),
        n_test=len(problem.test.target.classes),
        files=provenance.files_table(files),
        datasets={"source": problem.train.source.file.dataset,
                  "target": problem.test.target.file.dataset},
        accuracy=accuracy(results, title),
        curves=curves(read_metrics(run), state.best_iteration),
        aligned=_aligned(aligned, sorted({r.shots for r in results}), show) if aligned else None,
        settings=provenance.settings_table(config),
        chosen=provenance.chosen_table(results),
        split=provenance.split_table(problem),
        versions=provenance.versions_table(),
        episodes=_episodes(run),
    )  # fmt: skip


def _aligned(aligned: Aligned, shots: Sequence[int], show: Show) -> dict[str, Any]:
    """What only a run with both heads has."""
    found: dict[str, Any]
    try:
        items = items_of(aligned)
    except XmgError as error:  # no pair is of a new class; the rest can be said
        config = aligned.config
        paths = (config.source, config.target, config.concepts)
        found = {"why_not": provenance.without_folders(str(error), paths)}
    else:
        found = {
            "why_not": "",
            "retrieval": retrieval_table(measure(aligned, *items)),
            "seen": aligned.weak,
            "directions": directions(aligned, *items, show),
        }
    return {
        "confusions": [confusion(predict(aligned, k, None, 1)) for k in shots],
        "space": space_map(aligned),
        **found,
    }


def retrieval_table(found: Sequence[Retrieval]) -> Table:
    """Recall in percent by direction, with that of chance in brackets."""
    head = ["query → gallery", "right", "queries", "gallery"]
    head += [*(f"recall at {k}" for k in found[0].recall), "median rank"]
    lines = [
        [
            f"{row.queries} → {row.gallery}",
            RIGHT[row.right],
            f"{row.n_queries:,}",
            f"{row.n_gallery:,}",
            *(f"{100 * r:.1f} ({100 * row.chance[k]:.1f})" for k, r in row.recall.items()),
            f"{row.median_rank:g}",
        ]
        for row in found
    ]
    return Table("Recall (%), by chance in brackets", head, lines, 2)


def _episodes(run: Path) -> str:
    """The digest of the frozen episodes, which their own file holds."""
    found = json.loads((run / EPISODES).read_text(encoding="utf-8"))
    return str(found["sha256"])
