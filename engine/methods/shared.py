"""Shared: one encoder for both modalities; a linear map brings target rows to the source's width.

The domain-adaptation rows in the tables of the CROMA paper (Liang, Wu, Ziyin, Morency,
Salakhutdinov, arXiv:2012.02813), meta-trained by Reptile as CROMA is. With s = unit(f(x_s) W) and
t = unit(f(x_t) A W), a task takes inner steps on

    shared             -1/n sum_i log softmax(s_i . phi / tau)[y_i]; A stays as it starts,
    shared + align     CROMA's alignment loss of W and A, then the same,
    domain confusion   1/2 [mean log(1 + e^-D(s)) + mean log(1 + e^D(t))], D a discriminator; W, A
                       climb it (Ganin, Lempitsky, ICML 2015); then the same,
    target labels      the same, then the same of t and the labels of target rows.

All read labelled source rows, and pairs: for the fronts alone (shared, target labels), as pairs
with their sets, or as rows of either modality. The last reads target labels too, the others none.
"""

from xmg.engine.config import Config
from xmg.engine.data.pool import check_groups
from xmg.engine.data.problem import Problem
from xmg.engine.data.views import TargetOnly, View, WithTargetLabels
from xmg.engine.methods.croma import ALIGN, CLASSIFY
from xmg.engine.methods.system import Trained, pairs
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import classify_target, confuse
from xmg.engine.training.starts import discriminator, shared


def start(_: View, fronts: Fronts, config: Config) -> Theta:
    """One encoder and the target's way into it."""
    return shared(fronts, config)


def start_confusion(_: View, fronts: Fronts, config: Config) -> Theta:
    """The same with a discriminator of modalities."""
    return {**shared(fronts, config), **discriminator(config)}


def check(view: TargetOnly | WithTargetLabels, config: Config) -> None:
    """Raise XmgError unless the target's groups suffice for tasks."""
    check_groups(view.target, config, config.n_way)


def with_target_labels(problem: Problem, _: Config) -> WithTargetLabels:
    """Everything that meta-training has."""
    return WithTargetLabels(problem.train, problem.labelled.target)


CONFUSE = Stage("confuse", confuse, lambda config: config.align_rate)
CLASSIFY_TARGET = Stage("classify_target", classify_target, lambda config: config.classify_rate)

SHARED = Trained("shared", pairs, start, (CLASSIFY,))
SHARED_ALIGN = Trained("shared + align", pairs, start, (ALIGN, CLASSIFY))
SHARED_CONFUSION = Trained("shared + domain confusion", pairs, start_confusion, (CONFUSE, CLASSIFY))
SHARED_LABELS = Trained(
    "shared + target labels",
    with_target_labels,
    start,
    (CLASSIFY, CLASSIFY_TARGET),
    check=check,
)
