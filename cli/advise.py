"""xmg advise."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from xmg.cli.console import parse_shots, progress_bar
from xmg.cli.settings import settings_of

if TYPE_CHECKING:
    from xmg.engine.analysis.advice import Advice, Gain
    from xmg.engine.analysis.similarity import Similarity
    from xmg.engine.analysis.tradeoff import Law
    from xmg.engine.config import Config


def advise(
    source: Annotated[
        Path, typer.Argument(help="Features of the modality rich in labels.", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(help="Features of the modality poor in labels.", show_default=False)
    ],
    concepts: Annotated[
        Path | None, typer.Option(help="Weak pairs (TOML); without it equal ids are pairs.")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="Labels per class, such as 1,5,10.")] = None,
    n_way: Annotated[int | None, typer.Option(help="Classes of a task.")] = None,
    n_query: Annotated[int | None, typer.Option(help="Queries per class.")] = None,
    seed: Annotated[int | None, typer.Option(help="The only source of randomness.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Any further settings (TOML); options above win.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")] = False,
) -> None:
    """Does alignment promise to help here? An answer in about a minute, before you train.

    No test class is read. Says how alike the two feature spaces are, what the pairs are worth in labels, and which row of
    the table to use. docs/advise.md explains each figure.

    Example: xmg advise text.h5 speech.h5 --shots 1,5,10
    """
    from xmg.engine.analysis.advice import advise as run

    options = {
        "concepts": concepts,
        "shots": parse_shots(shots),
        "n_way": n_way,
        "n_query": n_query,
        "seed": seed,
    }
    whole = settings_of(source, target, config, options)
    with progress_bar("advise") as update:
        found = run(whole, update)
    if as_json:
        typer.echo(to_json(found, whole))
    else:
        _show(found, whole)


def to_json(found: "Advice", config: "Config") -> str:
    """One object; what is infinite (beyond a curve) is null."""
    whole = _named(asdict(found))
    return json.dumps({**whole, "sure": found.sure, "next": next_step(found, config)}, indent=1)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _named(one) for key, one in value.items()}
    if hasattr(value, "_asdict"):
        return _named(value._asdict())
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(found: "Advice", config: "Config") -> None:
    console = Console(width=None, highlight=False)
    console.print(_likeness_table(found))
    console.print(_gains_table(found))
    console.print(_laws_table(found))
    for line in (*_worths(found), "", *_verdict(found), "", next_step(found, config)):
        console.print(line, markup=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    return table


def _likeness_table(found: "Advice") -> Table:
    like = found.likeness
    table = _table(
        f"how alike the frozen spaces are, on {like.n:,} {like.level}",
        "figure", "value", "shuffled pairs", "p",
    )  # fmt: skip
    rows: list[tuple[str, Similarity]] = [
        (f"mutual {like.k}-nearest neighbours", like.mutual_knn),
        ("linear CKA, debiased", like.cka),
    ]
    for name, one in rows:
        table.add_row(name, f"{one.value:.3f}", f"{one.chance:.3f}", f"{one.p:.3f}")
    return table


def _gains_table(found: "Advice") -> Table:
    table = _table(
        f"accuracy (%) on {found.n_classes} held-out classes of meta-validation, "
        f"{found.n_way}-way, {found.n_tasks} tasks",
        "shots", "class mean, whitened", "canonical", "difference [95%]", "worth in labels",
    )  # fmt: skip
    for gain in found.gains:
        difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * v for v in gain.difference))
        alone, aligned = f"{100 * gain.target_only:.1f}", f"{100 * gain.aligned:.1f}"
        table.add_row(str(gain.shots), alone, aligned, difference, _worth(gain))
    return table


def _worth(gain: "Gain") -> str:
    one, low, high = (_labels(value, gain.most) for value in gain.worth)
    return one if one == low == high else f"{one} [{low}, {high}]"


def _labels(value: float, most: int) -> str:
    if math.isinf(value):
        return f"> {most}"
    return f"{value:.0f}" if value >= 2 or value == 0 else f"{value:.1f}"


def _laws_table(found: "Advice") -> Table:
    table = _table(
        "error = floor + c / x (CROMA paper, appendix B: without a floor)",
        "x", "floor (%)", "c", "residual (points)", "R²", "log-log slope (law: -1)", "describes",
    )  # fmt: skip
    table.add_row("labels N_t, class mean, whitened", *_law(found.labels_law))
    for k, law in found.sets_laws.items():
        table.add_row(f"sets of pairs S, canonical, {k}-shot", *_law(law))
    return table


def _law(law: "Law | None") -> tuple[str, ...]:
    if law is None:
        return ("-", "-", "-", "-", "-", "too few points")
    numbers = f"{100 * law.floor:.1f}", f"{law.c:.3f}", f"{100 * law.rms:.1f}", f"{law.r2:.2f}"
    return (*numbers, f"{law.slope:.2f}", "yes" if law.describes else "no")


def _worths(found: "Advice") -> list[str]:
    lines = []
    for gain in found.gains:
        shots = f"At {gain.shots} {'shot' if gain.shots == 1 else 'shots'}"
        if gain.worth.mean == 0:
            lines.append(f"{shots} these pairs are worth no label.")
        else:
            lines.append(f"{shots} these pairs are worth about {_worth(gain)} labels per class.")
    return lines


def _verdict(found: "Advice") -> list[str]:
    mean, low, high = (100 * value for value in found.overall)
    difference = f"{mean:+.1f} points [95%: {low:+.1f} to {high:+.1f}]"
    if found.system == "canonical":
        why = f"the pairs help, by {difference} over the target alone, and this needs no training"
    elif high < 0:
        why = f"the pairs hurt, by {difference}, and this needs none"
    else:
        why = f"what the pairs change, {difference}, is within error, and this needs none"
    sure = "clear" if found.sure else "not clear"
    return [f"Use {found.system}: {why}.", f"How sure: {sure}, over {found.n_classes} classes."]


def next_step(found: "Advice", config: "Config") -> str:
    """What to type next."""
    return "next: " + spec_of(found.system, config)


def spec_of(system: str, config: "Config") -> str:
    """A spec for xmg ablate that evaluates a system without training on test classes."""
    lines = [f"{name} = {_string(str(getattr(config, name)))}" for name in ("source", "target")]
    if config.concepts:
        lines.append(f"concepts = {_string(str(config.concepts))}")
    lines += [
        f"systems = [{_string(system)}]",
        f"reference = {_string(system)}",
        f"shots = {list(config.shots)}",
        "[settings]",
        f"n_way = {config.n_way}",
        f"n_query = {config.n_query}",
    ]
    return "save as check.toml, and type xmg ablate check.toml\n\n" + "\n".join(lines)


def _string(text: str) -> str:
    """A TOML string that steers no terminal."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)
