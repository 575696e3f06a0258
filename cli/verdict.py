"""What a table of accuracies means, in words: of how many classes it is, and what it shows."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xmg.cli.escaping import shown

if TYPE_CHECKING:
    from xmg.engine.evaluate import Result


def caption(runs: Sequence[Path]) -> str:
    """Ways, chance, test classes and seeds of the tasks behind a table."""
    from xmg.engine.manifest import held_out
    from xmg.engine.run import load_config

    configs = [load_config(run) for run in runs]
    n_way, n_seeds = configs[0].n_way, len({config.seed for config in configs})
    counts = sorted({len(held_out(run, "test")) for run in runs})
    classes = "-".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    seeds = "one seed" if n_seeds == 1 else f"{n_seeds} seeds"
    return f"{n_way}-way, chance {1 / n_way:.0%}, {classes} test classes, {seeds}"


def verdict(runs: Sequence[Path], results: "Sequence[Sequence[Result]]") -> Iterator[str]:
    """Whether the trained row is above the best simple one, and what that is good for."""
    from xmg.engine.manifest import held_out
    from xmg.engine.run import BEST, load_state

    for run in runs:
        if load_state(run / BEST).iteration == 0:
            yield f"{shown(str(run))}: training gained nothing over its start, whose row this is"
    found = list(_compared(results))
    yield from (line for _, line in found)
    if not all(above for above, _ in found):
        yield (
            "where it is not above, the pairs have not shown their worth (xmg advise); xmg predict "
            "leans on the target's own features as far as held-out classes ask for it"
        )
    n_splits = len({(*held_out(run, "validation"), *held_out(run, "test")) for run in runs})
    splits = "one class split" if n_splits == 1 else f"{n_splits} class splits"
    yield (
        f"± and intervals are over episodes of {splits}, and others may differ more: "
        "xmg ablate with several seeds tells"
    )


def _compared(results: "Sequence[Sequence[Result]]") -> Iterator[tuple[bool, str]]:
    """For each shot count whether the last row is above the best other, and a line that says so."""
    import numpy as np

    from xmg.engine.ablation.statistics import half_width
    from xmg.engine.meta_test import pool_results

    rows = {
        (group[0].shots, group[0].system): np.concatenate([np.ravel(r.tasks) for r in group])
        for group in pool_results(results)
    }
    trained = results[0][-1].system
    for k in dict.fromkeys(k for k, _ in rows):
        simple = [name for j, name in rows if j == k and name != trained]
        best = max(simple, key=lambda name: float(rows[k, name].mean()))
        away = 100 * (rows[k, trained] - rows[k, best])  # by episode
        mean, half = float(away.mean()), half_width(away) if len(away) > 1 else math.inf
        low, high = mean - half, mean + half
        where = "above" if low > 0 else "below" if high < 0 else "not shown to be above"
        line = f"{k}-shot: {trained} is {where} {best}: {mean:+.1f} points"
        yield low > 0, f"{line} [95%: {low:+.1f} to {high:+.1f}]"
