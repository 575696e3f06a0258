"""xmg pair: find the pairs that meta-training needs, instead of listing them by hand."""

import math
import shlex
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xmg.cache.counted import counted
from xmg.cache.errors import XmgError
from xmg.cli.completion import text_encoders
from xmg.cli.console import hints
from xmg.cli.escaping import shown

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from xmg.cache import FeatureFile
    from xmg.engine.mining.links import Concept
    from xmg.engine.mining.similarity import Similarity


class By(StrEnum):
    """What tells that rows belong together."""

    WORDNET = "wordnet"
    TEXT = "text"
    COOCCURRENCE = "cooccurrence"
    CLUSTERS = "clusters"
    KEY = "key"


_OF_NAMES: Final = (By.WORDNET, By.TEXT, By.COOCCURRENCE)
# Best F1 on another task, CIFAR-100's 20 superclasses from its class names: 0.79 and 0.46
_LEAST: Final = {By.WORDNET: 0.8, By.TEXT: 0.45, By.COOCCURRENCE: 0.2}
_MARGIN: Final = 0.1
_FEW_HELD_OUT: Final = 10  # 5-way tasks of validation and of test need as many
_TAKERS: Final = {
    "min_similarity": _OF_NAMES,
    "margin": _OF_NAMES,
    "max_concepts": _OF_NAMES,
    "wordnet": (By.WORDNET,),
    "encoder": (By.TEXT,),
    "corpus": (By.COOCCURRENCE,),
    "key": (By.KEY,),
    "sets": (By.CLUSTERS,),
    "c": (By.CLUSTERS,),
    "seed": (By.CLUSTERS,),
}


def pair(
    source: Annotated[
        Path, typer.Argument(help="Features of the modality rich in labels.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(help="Features of the modality poor in labels.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Concepts (.toml), or a table of pairs (.csv).")
    ],
    by: Annotated[By, typer.Option(help="What tells that rows belong together.")],
    min_similarity: Annotated[
        float | None,
        typer.Option(help="Least similarity: wordnet 0.8, text 0.45, cooccurrence 0.2."),
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, help="How far below a class's best; default 0.1.")
    ] = None,
    max_concepts: Annotated[
        int | None, typer.Option(min=1, help="Keep only the strongest concepts.")
    ] = None,
    wordnet: Annotated[
        Path | None, typer.Option(help="wordnet: a folder that holds corpora/wordnet.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            "-e",
            help="text: a text encoder; default minilm.",
            autocompletion=text_encoders,
        ),
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help="cooccurrence: a text file, one document a line.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="key: a column that both files have.")] = None,
    sets: Annotated[
        int | None, typer.Option(min=1, help="clusters: how many; default sqrt(c N) of N pairs.")
    ] = None,
    c: Annotated[float | None, typer.Option("-c", help="clusters: c of sqrt(c N); 1.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="clusters: seed of k-means; 0.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Find which classes or rows of two feature files belong together.

    wordnet, text and cooccurrence compare class names, and write concepts for meta-train.
    clusters groups rows of equal id by k-means of the source.
    key joins equal values of a column.
    The last two write a table source_id,target_id,set.

    Example: xmg pair photos.h5 sounds.h5 --by wordnet -o concepts.toml
    """
    from xmg.cache import FeatureFile
    from xmg.cache.outputs import check_free
    from xmg.cache.pairs import refuse_same

    given = {
        "min_similarity": min_similarity, "margin": margin, "max_concepts": max_concepts,
        "wordnet": wordnet, "encoder": encoder, "corpus": corpus, "key": key, "sets": sets,
        "c": c, "seed": seed,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None}
    _check(by, out, options)
    check_free([out], overwrite)
    files = FeatureFile(source), FeatureFile(target)
    refuse_same(*files)
    if by in _OF_NAMES:
        _write_concepts(*files, out, by, options, overwrite)
        following = ["--concepts", str(out), "--run", "runs/mined"]
    else:
        _write_table(*files, out, by, options, overwrite)
        following = ["--pairs", str(out), "--run", "runs/paired"]
    words = ["xmg", "meta-train", str(source), str(target), *following]
    hints.print(f"next: {shlex.join(words)}")


def _check(by: By, out: Path, options: dict[str, Any]) -> None:
    """Refuse options that would do nothing, and lacking ones."""
    for name in options:
        if by not in _TAKERS[name]:
            raise typer.BadParameter(f"{_flag(name)} means nothing with --by {by}")
    for name, mode in (("corpus", By.COOCCURRENCE), ("key", By.KEY)):
        if by == mode and name not in options:
            raise typer.BadParameter(f"--by {by} needs --{name}")
    if "sets" in options and "c" in options:
        raise typer.BadParameter("--sets and -c exclude one another")
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise typer.BadParameter(f"{_flag(name)} {value} is no number")
    suffix = ".toml" if by in _OF_NAMES else ".csv"
    if out.suffix.lower() != suffix:
        raise typer.BadParameter(f"--by {by} writes {suffix}, so give -o a name that ends in it")


def _flag(name: str) -> str:
    return "-c" if name == "c" else f"--{name.replace('_', '-')}"


def _write_concepts(
    source: "FeatureFile",
    target: "FeatureFile",
    out: Path,
    by: By,
    options: dict[str, Any],
    overwrite: bool,
) -> None:
    from xmg.engine.mining.links import mine, unmatched
    from xmg.engine.mining.writing import concepts_toml, write_text

    sides = _filled_classes(source), _filled_classes(target)
    least, margin = options.get("min_similarity", _LEAST[by]), options.get("margin", _MARGIN)
    for file, names in zip((source, target), sides, strict=True):
        if not names:
            raise XmgError(f"{file.path} has no labelled rows. fix: extract it with labels")
    similarity = _similarity([*sides[0], *sides[1]], by, options)
    kept = options.get("max_concepts")
    concepts = mine(
        *sides, similarity.values, min_similarity=least, margin=margin, max_concepts=kept
    )
    words = ["xmg", "pair", str(source.path), str(target.path), "--by", by]
    for name, value in {"min_similarity": least, "margin": margin, **options}.items():
        words += [_flag(name), f"{value:g}" if isinstance(value, float) else str(value)]
    text = concepts_toml(concepts, similarity, *sides, shlex.join(words))
    write_text(out, text, overwrite=overwrite)
    _print_concepts(out, concepts)
    s_left, t_left = unmatched(*sides, concepts)
    _print_left(len(s_left), len(t_left), similarity)


def _print_left(n_source: int, n_target: int, similarity: "Similarity") -> None:
    left = counted(n_source, "source class"), counted(n_target, "target class")
    typer.echo(f"without a partner: {left[0]}; {left[1]}, held out")
    if similarity.unknown:
        unknown = ", ".join(map(shown, dict.fromkeys(similarity.unknown)))
        hints.print(f"unmatched, since unknown to the measure: {unknown}")
    if n_target < _FEW_HELD_OUT:
        hints.print(
            f"only {n_target} target classes stay for validation and test; --max-concepts or a "
            "higher --min-similarity leaves more"
        )


def _filled_classes(file: "FeatureFile") -> list[str]:
    """Classes with rows: a concept of a class without any could not be trained on."""
    ends = file.class_offsets
    return [name for name, n in zip(file.classes, ends[1:] - ends[:-1], strict=True) if n]


def _similarity(names: Sequence[str], by: By, options: dict[str, Any]) -> "Similarity":
    if by == By.WORDNET:
        from xmg.engine.mining.wordnet import by_wordnet

        with hints.status("reading WordNet"):
            return by_wordnet(names, options.get("wordnet"))
    if by == By.COOCCURRENCE:
        from xmg.cache.outputs import required_file
        from xmg.engine.mining.cooccurrence import by_cooccurrence

        return by_cooccurrence(names, _documents(required_file(options["corpus"])))
    from xmg.engine.mining.similarity import by_vectors

    encoder = options.get("encoder", "minilm")
    return by_vectors(names, _embedded(names, encoder), encoder)


def _embedded(names: Sequence[str], name: str) -> "npt.NDArray[np.float32]":
    """(N, D) embeddings of class names in a phrase."""
    import numpy as np

    from xmg.engine.mining.names import spoken
    from xmg.extract.encoders import load_encoder

    with hints.status(f"loading {name}"):
        encoder = load_encoder(name)
    if encoder.modality != "text" or encoder.sequences:
        raise XmgError(f"the encoder {name} does not map a text to a vector. fix: --encoder minilm")
    prepared = [encoder.decode(spoken(n)) for n in names]
    size = encoder.batch_size
    batches = [encoder.encode(prepared[i : i + size]) for i in range(0, len(prepared), size)]
    return np.stack([np.asarray(row) for batch in batches for row in batch])


def _documents(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file that are not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from filter(str.strip, file)
    except UnicodeDecodeError as error:
        raise XmgError(f"{path} is no UTF-8 text: {error}") from error


def _write_table(
    source: "FeatureFile",
    target: "FeatureFile",
    out: Path,
    by: By,
    options: dict[str, Any],
    overwrite: bool,
) -> None:
    from xmg.engine.mining.keys import pairs_by_key
    from xmg.engine.mining.writing import table_csv, write_text

    if by == By.KEY:
        rows: list[tuple[object, ...]] = [*pairs_by_key(source, target, options["key"])]
    else:
        rows = _clustered(source, target, options)
    write_text(out, table_csv(("source_id", "target_id", "set"), rows), overwrite=overwrite)
    n_sets = len({row[-1] for row in rows})
    table = Table("pairs", "sets", "pairs a set")
    table.add_row(f"{len(rows):,}", f"{n_sets:,}", f"{len(rows) / n_sets:,.1f}")
    Console(highlight=False).print(table)
    typer.echo(f"{out}: {counted(len(rows), 'pair')} in {counted(n_sets, 'set')}")


def _clustered(
    source: "FeatureFile", target: "FeatureFile", options: dict[str, Any]
) -> list[tuple[object, ...]]:
    from xmg.cache import decode
    from xmg.cache.pairs import join_ids
    from xmg.engine.data.thinning import clusters_of
    from xmg.engine.mining.clusters import default_n_sets

    s_rows, _ = join_ids(source, target)
    n_sets = options.get("sets") or default_n_sets(len(s_rows), options.get("c", 1.0))
    found = clusters_of(source, s_rows, n_sets, options.get("seed", 0)).tolist()
    return [(name, name, c) for name, c in zip(decode(source.ids[s_rows]), found, strict=True)]


def _print_concepts(out: Path, concepts: "Sequence[Concept]") -> None:
    table = Table("concept", "source classes", "target classes")
    table.add_column("strength", justify="right")
    for concept in concepts:
        sides = (concept.source, concept.target)
        cells = (shown(concept.name), *(", ".join(map(shown, names)) for names in sides))
        table.add_row(*(Text(cell, overflow="fold") for cell in cells), f"{concept.strength:.2f}")
    Console(highlight=False).print(table)
    typer.echo(f"{out}: {counted(len(concepts), 'concept')}")
