"""Queries of xmg retrieve: ids of a run's file, or files and texts that its encoder reads."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmg.cache import FeatureFile
from xmg.cache.errors import XmgError
from xmg.cache.names import closest
from xmg.cli.console import hints
from xmg.cli.raw import Loading

if TYPE_CHECKING:
    from xmg.engine.analysis.retrieval import Aligned, Side
    from xmg.engine.pages.items import Shown
    from xmg.extract.types import Content, Encoder


@dataclass(frozen=True, slots=True)
class Asked:
    """n queries of one side: embeddings (width,), and what is known of each.

    shown: how those look that are no ids.
    """

    side: "Side"
    z: Sequence[Any]
    labels: Sequence[str | None]
    seen: Sequence[bool | None]
    shown: "Mapping[str, Shown]"


def ask(aligned: "Aligned", queries: Sequence[str], side: Any, loading: Loading) -> Asked:
    """Embed queries. Raises XmgError where one is neither an id nor what the encoder can read."""
    from xmg.engine.analysis.lookup import side_of

    side = side or side_of(aligned, queries)
    if side is None:
        raise XmgError(
            "the queries are not all ids of one feature file of the run. fix: --from source or "
            "--from target, of which modality they are: then files and texts are encoded"
        )
    known = _known(aligned, side, queries)
    raw = [query for query in queries if query not in known]
    read = _read(aligned, side, raw, loading) if raw else {}
    both = known | read
    return Asked(
        side,
        [both[q].z for q in queries],
        [both[q].label for q in queries],
        [both[q].seen for q in queries],
        {q: one.shown for q, one in read.items() if one.shown},
    )


@dataclass(frozen=True, slots=True)
class _One:
    z: Any  # (width,), a tensor
    label: str | None = None
    seen: bool | None = None
    shown: "Shown | None" = None


def _known(aligned: "Aligned", side: "Side", queries: Sequence[str]) -> dict[str, _One]:
    """Those that are ids."""
    import numpy as np

    from xmg.cache.reuse import known_ids
    from xmg.engine.analysis.lookup import seen_rows

    file: FeatureFile = getattr(aligned, side)
    ids = known_ids(file)
    names = [query for query in dict.fromkeys(queries) if query in ids]
    rows = np.array([ids[name] for name in names], np.int64)
    if not names:
        return {}
    seen = np.isin(rows, seen_rows(aligned, side)).tolist()
    columns = names, aligned.embed(side, rows), file.class_names(rows), seen
    return {name: _One(z, label, s) for name, z, label, s in zip(*columns, strict=True)}


def _read(
    aligned: "Aligned",
    side: "Side",
    queries: Sequence[str],
    loading: Loading,
) -> dict[str, _One]:
    """Files and texts, by the encoder that made the side's file."""
    import numpy as np

    from xmg.extract.inputs import modalities

    file: FeatureFile = getattr(aligned, side)
    may_be_text = "text" in modalities(file.encoder)
    contents: dict[str, Content] = {}
    for query in dict.fromkeys(queries):
        is_file = os.path.isfile(query)  # noqa: PTH113  (Path refuses long texts)
        if not is_file and not may_be_text:
            raise XmgError(_no_such(file, side, query))
        if not is_file and _like_a_path(query):
            hints.print(f"{query!r} is no id and no file: read as a text")
        contents[query] = Path(query) if is_file else query
    encoder = loading.encoder(file.spec)
    with tempfile.TemporaryDirectory() as folder:
        made = _features(contents, encoder, file, Path(folder) / "queries.h5")
        z = aligned.embed(side, np.arange(len(made)), made)
    shown = [_shown(content, encoder) for content in contents.values()]
    return {q: _One(z[i], shown=shown[i]) for i, q in enumerate(contents)}


def _like_a_path(query: str) -> bool:
    return "/" in query or re.search(r"\.\w{2,5}$", query) is not None


def _no_such(file: FeatureFile, side: str, query: str) -> str:
    from xmg.cache.reuse import known_ids

    return (
        f"{query!r} is no id of {file.path}, the {side}{closest(query, list(known_ids(file)))}; "
        "nor is it a file. fix: name an id or a file; --from names the other modality"
    )


def _features(
    contents: "Mapping[str, Content]", encoder: "Encoder", file: FeatureFile, out: Path
) -> FeatureFile:
    """A feature file of the queries, in their order, made as xmg extract makes one."""
    from xmg.extract.pipeline import extract
    from xmg.extract.types import RejectError, Sample, Source

    for name, content in contents.items():
        try:
            encoder.decode(content)
        except RejectError as error:
            text = f"{name!r} cannot be read: {error}. fix: name an id, or another file"
            raise XmgError(text) from error
    samples = [Sample(str(i), content) for i, content in enumerate(contents.values())]
    return extract(Source("queries", samples), encoder, out, dtype=file.dtype.name)


def _shown(content: "Content", encoder: "Encoder") -> "Shown":
    from xmg.engine.pages.items import Shown
    from xmg.extract.inputs import preview
    from xmg.extract.types import RejectError

    try:
        return Shown(encoder.modality, preview(content, encoder.modality))
    except (RejectError, XmgError) as error:
        return Shown("unread", str(error))
