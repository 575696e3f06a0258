"""Which solver takes the steps: the fastest that is exact for the phase."""

from collections.abc import Callable

from xmg.engine.inner import batched, direct, reference, span
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.model.heads import Theta

Solver = Callable[[Theta, Phase, int, Optimizer, Theta], tuple[Theta, list[float]]]
SOLVERS: dict[str, Solver] = {
    "reference": reference.descend,
    "direct": direct.descend,
    "span": span.descend,
    "batched": batched.descend,
}

_FEW = 7  # `benchmarks/engine.py` measures where the two meet


def solver_of(phase: Phase, optimizer: Optimizer) -> str:
    """Span for SGD where no head has more rows than a seventh of its inputs, else direct; all are
    exact. There both take as long: span's products of rows with rows grow as their square.

    Rows that are sequences, and heads that share a layer, have the reference only.
    """
    sequences = any(rows.dim() > 2 for rows in phase.rows.values())
    shared = not phase.heads.keys().isdisjoint(phase.rest)
    if sequences or shared:
        return "reference"
    few = all(_FEW * rows.shape[0] <= rows.shape[1] for rows in phase.rows.values())
    return "span" if optimizer.kind == "sgd" and few else "direct"
