"""Shared: one encoder for both modalities; a linear map brings target rows to the source's width.

The domain-adaptation rows of the CROMA paper (arXiv:2012.02813), meta-trained as CROMA is: alone;
with the contrastive alignment loss; with domain confusion; and with target labels. The last reads
labels of target rows in meta-training, the others none.
"""

from xmg.engine.config import Config
from xmg.engine.data.pool import check_groups
from xmg.engine.data.problem import Problem
from xmg.engine.data.views import View, WithTargetLabels
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


def check_labelled(view: WithTargetLabels, config: Config) -> None:
    """Raise XmgError unless target labels suffice for tasks."""
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
    check=check_labelled,
)
