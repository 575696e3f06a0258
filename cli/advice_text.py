"""What xmg advise found, in tables and plain sentences."""

import math
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from xmg.cache.counted import counted

if TYPE_CHECKING:
    from xmg.engine.analysis.advice import Advice, Gain
    from xmg.engine.analysis.heldout import Interval
    from xmg.engine.analysis.similarity import Similarity
    from xmg.engine.analysis.tradeoff import Law


def show(found: "Advice") -> None:
    """Print sentences that a person can act on, and the tables behind them."""
    console = Console(width=None, highlight=False)
    tables = _likeness_table(found), _gains_table(found), _laws_table(found)
    for part in (*_verdict(found), "", *tables, *_worths(found), *_by_law(found), ""):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


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
        "shots", "no pairs", "canonical", "difference [95%]", "worth in labels",
    )  # fmt: skip
    for gain in found.gains:
        difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * v for v in gain.difference))
        alone, aligned = f"{100 * gain.target_only:.1f}", f"{100 * gain.aligned:.1f}"
        table.add_row(str(gain.shots), alone, aligned, difference, _worth(gain))
    return table


def _worth(gain: "Gain") -> str:
    if not gain.most:
        return "-"
    one, low, high = (_labels(value, gain.most) for value in gain.worth)
    return one if one == low == high else f"{one} [{low}, {high}]"


def _labels(value: float, most: int) -> str:
    return f"> {most}" if math.isinf(value) else f"{value:.1f}"


def _laws_table(found: "Advice") -> Table:
    table = _table(
        "error = floor + c / x; slope in logarithms, -1 without a floor",
        "x", "floor (%)", "c", "residual (%)", "R²", "slope", "holds",
    )  # fmt: skip
    table.add_row("N_t labels", *_law(found.labels_law))
    for k, law in found.sets_laws.items():
        table.add_row(f"S sets, {k}-shot", *_law(law))
    return table


def _law(law: "Law | None") -> tuple[str, ...]:
    if law is None:
        return ("-", "-", "-", "-", "-", "too few points")
    numbers = f"{100 * law.floor:.1f}", f"{law.c:.3f}", f"{100 * law.rms:.1f}", f"{law.r2:.2f}"
    return (*numbers, f"{law.slope:.2f}", "yes" if law.describes else "no")


def _worths(found: "Advice") -> list[str]:
    lines = []
    for gain in found.gains:
        shots = f"At {counted(gain.shots, 'shot')}"
        if not gain.most:
            lines.append(f"{shots} no more labels are at hand to compare the pairs with.")
        else:
            lines.append(f"{shots} these pairs are worth {_worth(gain)} further labels per class.")
    return lines


def _by_law(found: "Advice") -> list[str]:
    """Where appendix B describes both errors, what it says."""
    from xmg.engine.analysis.tradeoff import break_even

    labels, lines = found.labels_law, []
    for k, law in found.sets_laws.items():
        if labels and law and labels.describes and law.describes:
            per_class = break_even(law, labels, found.n_sets) / found.n_way
            many = "any number of" if math.isinf(per_class) else f"up to {per_class:.0f}"
            lines.append(
                f"By the fitted law {found.n_sets} sets of pairs beat, at {k}-shot, {many} labels "
                "per class without pairs."
            )
    if not lines:
        lines.append(
            "The law of appendix B does not describe these errors: go by what is measured."
        )
    return lines


def _verdict(found: "Advice") -> list[str]:
    difference = _points(found.overall)
    if found.system == "croma":
        assert found.adapted
        why = f"the pairs help, by {difference}, and its classifiers add {_points(found.adapted)}"
    elif found.system == "canonical":
        why = f"the pairs help, by {difference} over the target alone, and it needs no training"
    elif found.overall.high < 0:
        why = f"the pairs hurt, by {difference}, and it needs none"
    else:
        why = f"what the pairs change, {difference}, is within error, and it needs none"
    lines = [f"Use {found.system}: {why}.", _how_sure(found)]
    if found.system == "canonical":
        lines.append(
            "Training with CROMA starts from the same directions and may add to them; what it adds "
            "only xmg meta-train can tell."
        )
    return lines


def _how_sure(found: "Advice") -> str:
    n, half = found.n_classes, 100 * (found.overall.high - found.overall.mean)
    if found.sure:
        return f"How sure: the interval, over {n} held-out classes, leaves 0 out."
    return (
        f"How sure: {n} held-out classes do not show a difference of less than {half:.1f} points; "
        "more of them would."
    )


def _points(one: "Interval") -> str:
    return "{:+.1f} points [95%: {:+.1f} to {:+.1f}]".format(*(100 * v for v in one))
