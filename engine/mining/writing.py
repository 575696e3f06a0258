"""What was mined as files: concepts in TOML with their evidence, pairs in CSV."""

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from xmg.cache.outputs import appearing, check_free
from xmg.engine.mining.links import Concept, Link, unmatched
from xmg.engine.mining.similarity import Similarity


def concepts_toml(
    concepts: Sequence[Concept],
    similarity: Similarity,
    source: Sequence[str],
    target: Sequence[str],
    made_by: str,
) -> str:
    """The text that cache.pairs.read_concepts reads, with comments that say why.

    Each concept lists its links with their similarity and evidence, and its nearest rivals: the
    pairs of one class inside and one outside. made_by: the command line, for the head.
    """
    left = unmatched(source, target, concepts)
    parts = [
        _comment(f"Weak pairs mined from class names: {made_by}"),
        _comment(f"Similarity: {similarity.measure}. Links show the pairs that made a concept,"),
        "# rivals the closest that did not. Edit at will: only the lists count.",
        *_left_out("Source classes without a partner", left[0]),
        *_left_out("Target classes without a partner, which are held out", left[1]),
        *_left_out("Unknown to the measure", similarity.unknown),
    ]
    for concept in concepts:
        parts += ["", *_table(concept, similarity)]
    return "\n".join(parts) + "\n"


def write_text(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a file that appears whole; raises XmgError where it is there and may not go."""
    check_free([path], overwrite)
    with appearing(path) as file:
        file.write(text.encode("utf-8"))


def table_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _table(concept: Concept, similarity: Similarity) -> list[str]:
    plain = re.fullmatch(r"[A-Za-z0-9_-]+", concept.name)
    return [
        f"[concept.{concept.name if plain else _string(concept.name)}]",
        f"source = {_list(concept.source)}",
        f"target = {_list(concept.target)}",
        f"# strength {concept.strength:.3f}",
        *(_comment(f"link {_shown(link)}{_because(link, similarity)}") for link in concept.links),
        *(_comment(f"rival {_shown(link)}") for link in concept.rivals),
    ]


def _left_out(which: str, names: Sequence[str]) -> list[str]:
    return [_comment(f"{which}: {', '.join(names)}")] if names else []


def _because(link: Link, similarity: Similarity) -> str:
    found = similarity.evidence(link.source, link.target)
    return f": {found}" if found else ""


def _shown(link: Link) -> str:
    return f"{_string(link.source)} - {_string(link.target)} {link.similarity:.3f}"


def _comment(text: str) -> str:
    """A line that no control character in a name can end."""
    return "# " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _string(text: str) -> str:
    """A TOML string: JSON's, where DEL is to be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(names: Sequence[str]) -> str:
    return f"[{', '.join(map(_string, names))}]"
