"""xmg predict."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xmg.cli.console import hints, say
from xmg.cli.escaping import shown
from xmg.cli.extracting import check_there
from xmg.cli.raw import Device, EncoderName, Loading, Raw, Weights, check_alike
from xmg.cli.unfinished import say_unfinished

if TYPE_CHECKING:
    from xmg.engine.predict.calibration import Tuning
    from xmg.engine.predict.table import Estimate, Summary

_SHOWN: Final = 20  # classes
_CEILING: Final = 0.99  # accuracy beyond which mistakes are too few to calibrate by


def predict(
    model: Annotated[
        Path, typer.Argument(help="A run folder, or an exported model.", show_default=False)
    ],
    labelled: Annotated[
        Path,
        typer.Argument(
            help="A few labelled files: a folder for each class, a manifest, or a feature file.",
            show_default=False,
        ),
    ],
    inputs: Annotated[
        Path,
        typer.Argument(help="What to name: a folder, a manifest, or a feature file (.h5)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write (.csv).")],
    coverage: Annotated[
        float, typer.Option(help="How often the possible labels shall hold the true one.")
    ] = 0.9,
    encoder: EncoderName = None,
    weights: Weights = None,
    device: Device = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The summary as JSON, for machines.")
    ] = False,
) -> None:
    """Name files from a few labelled ones: label, probability, runner-up, or "unsure".

    Raw files are encoded as the run's were, into OUT.features/; those known there are not encoded
    again. Probabilities are calibrated on classes that the run held out. An answer is "unsure"
    where several labels are possible; these hold the true one with the stated coverage.

    Example: xmg predict runs/sounds labelled/ unlabelled/ -o answers.csv
    """
    from xmg.cache.outputs import check_own
    from xmg.engine.predict.calibration import check_coverage
    from xmg.engine.predict.classifier import CrossModalClassifier
    from xmg.engine.predict.model import load_model
    from xmg.engine.predict.table import COLUMNS, fit_on, labelled_rows, write_answers

    check_own(out, ".csv", ",".join(COLUMNS).encode(), overwrite, [labelled, inputs])
    check_coverage(coverage)
    check_there([labelled, inputs])
    say_unfinished(model)
    with hints.status(f"loading {model}"):
        loaded = load_model(model)
    raw = Raw(loaded.made_by, out, overwrite, Loading(encoder, weights, device))
    few = raw.features(labelled, "labelled")
    labelled_rows(few)  # before all inputs are encoded
    many = raw.features(inputs, "inputs")
    check_alike(loaded, few, many)
    classifier = CrossModalClassifier(loaded)
    with hints.status("adapting to the labels"):
        left_out = fit_on(classifier, few, coverage)
    with hints.status("answering"):
        found = write_answers(classifier, few, many, out, coverage)
    assert classifier.tuning_
    n_way = len(classifier.classes_)
    if as_json:
        say(json.dumps(_as_json(found, left_out, classifier.tuning_), indent=1))
        return
    _print(found)
    _expect(left_out, found, classifier.tuning_, n_way)
    _few_mistakes(classifier.tuning_, coverage)
    say(f"{out}: {sum(found.answers.values())} answers")


def _print(found: "Summary") -> None:
    table = Table()
    table.add_column("answer")
    table.add_column("inputs", justify="right")
    counts = sorted(found.answers.items(), key=lambda item: -item[1])
    for name, n in counts[:_SHOWN]:
        table.add_row(Text(shown(name)), f"{n:,}")
    if len(counts) > _SHOWN:
        table.add_row(f"... {len(counts) - _SHOWN} more", f"{sum(n for _, n in counts[_SHOWN:]):,}")
    if found.n_unreadable:
        table.add_row("unreadable", f"{found.n_unreadable:,}")
    Console(highlight=False).print(table)


def _expect(left_out: "Estimate | None", found: "Summary", tuning: "Tuning", n_way: int) -> None:
    """Say how right the answers are likely to be."""
    if left_out:
        say(f"each label left out in turn: {_in_words(left_out)}")
    else:
        say("accuracy on these classes: not known, as no class has two labels")
    say(
        f"on {tuning.n_classes} held-out classes of the run, {tuning.n_way}-way with "
        f"{tuning.k_shot} labels each: {tuning.accuracy:.0%} right"
    )
    if tuning.n_way < n_way:
        hints.print(
            f"the run held out {tuning.n_way} classes and these are {n_way}: probabilities and "
            "possible labels are calibrated on smaller tasks, and surer than they should be"
        )
    if found.truth:
        say(f"by the labels that inputs came with: {_in_words(found.truth)}")


def _few_mistakes(tuning: "Tuning", coverage: float) -> None:
    """Say what probabilities and possible labels rest on where held-out classes hardly err."""
    from xmg.engine.predict.calibration import least_mistakes

    most = 1 - least_mistakes(tuning.n_classes)
    all_possible = tuning.threshold(coverage) >= 1
    if tuning.accuracy < _CEILING and not (all_possible and tuning.accuracy > most):
        return
    wide = f"; at {coverage:.0%} every label is possible, so try a lower --coverage"
    hints.print(
        f"probabilities and possible labels rest on few mistakes: {tuning.n_classes} classes, even "
        f"without one, vouch for {most:.0%}{wide if all_possible else ''}"
    )


def _in_words(one: "Estimate") -> str:
    return (
        f"{one.right} of {one.n} right ({one.accuracy:.0%}; 95% interval {one.low:.0%} to "
        f"{one.high:.0%}), {one.covered:.0%} among the possible labels, {1 - one.sure:.0%} unsure"
    )


def _as_json(found: "Summary", left_out: "Estimate | None", tuning: "Tuning") -> dict[str, Any]:
    held_out = asdict(tuning)
    held_out.pop("misfits")
    held_out["setting"] = tuning.setting._asdict()
    return {
        "answers": found.answers,
        "unreadable": found.n_unreadable,
        "left_out": asdict(left_out) if left_out else None,
        "held_out_classes": held_out,
        "truth": asdict(found.truth) if found.truth else None,
    }
