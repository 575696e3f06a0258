"""Learning in the target modality alone: unsupervised, by the pairs' sets, and by target labels.

Three are rows in the tables of the CROMA paper (Liang, Wu, Ziyin, Morency, Salakhutdinov,
arXiv:2012.02813), trained by Reptile; two are the rivals that they have to beat, ordinary
classifiers of all classes, whose features then serve new ones (Chen, Liu, Kira, Wang, Huang, "A
Closer Look at Few-shot Classification", ICLR 2019), trained by Adam. Each minimizes one loss, of
y = e_t(f(x)) and t = unit(y):

    reconstruct         |y V - f(x)|^2 / |f(x)|^2                         -
    weak labels         -1/n sum_i log softmax(t_i . phi / tau)[c_i]      concepts, or clusters
    classifier of sets  -1/n sum_i log softmax(t_i . C / tau)[c_i]        sets of the pairs
    oracle              as weak labels                                    target labels
    classifier          as the classifier of sets                         target labels

The right column says what tells a class c_i; rows are the target's of the pairs. No system here
can open the source file.
"""

import torch

from xmg.cache import XmgError
from xmg.engine.config import Config
from xmg.engine.data.pool import check_groups, pool_by_labels, with_at_least
from xmg.engine.data.problem import Problem
from xmg.engine.data.streams import Stream, torch_generator
from xmg.engine.data.thinning import clusters_of
from xmg.engine.data.views import TargetOnly
from xmg.engine.methods.shared import CLASSIFY_TARGET, check
from xmg.engine.methods.system import Trained, target_labels, target_sets, unlabelled
from xmg.engine.mining.clusters import default_n_sets
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.training.meta_learn import Stage
from xmg.engine.training.phases import classify_all_target, reconstruct
from xmg.engine.training.starts import alone


def start(_: TargetOnly, fronts: Fronts, config: Config) -> Theta:
    """The target's head."""
    return alone(fronts.target, config)


def start_classifier(view: TargetOnly, fronts: Fronts, config: Config) -> Theta:
    """The same with a classifier of all groups."""
    classes = torch.zeros(config.width, len(view.target.classes))
    return {**start(view, fronts, config), "classes": classes}


def check_sets(view: TargetOnly, config: Config) -> None:
    """As `check`; raises XmgError too where each set is one pair."""
    if view.target.sizes.max(initial=1) == 1:
        raise XmgError(
            "every pair is a set of its own, and a classifier of sets needs several rows of each. "
            "fix: --sets label"
        )
    check(view, config)


def check_rows(view: TargetOnly, config: Config) -> None:
    """Raise XmgError unless its rows, as one group, suffice for tasks."""
    check_groups(view.target, config, 1)


def start_decoder(_: TargetOnly, fronts: Fronts, config: Config) -> Theta:
    """A random head, as the identity has nothing to learn from reconstruction, and a decoder."""
    theta = alone(fronts.target, config.model_copy(update={"start": "random"}))
    d = fronts.target.offset.numel()
    rng = torch_generator(config.seed, Stream.DECODER)
    decoder = torch.randn(config.width, d, generator=rng) / d**0.5
    return {**theta, "decoder": decoder}


def pseudo_classes(problem: Problem, config: Config) -> TargetOnly:
    """Weak sets without their source; of strong pairs, clusters of the target rows.

    Sets of strong pairs are the source's labels of paired rows, which would be target labels.
    Clusters are k-means of unit features, as many as there are sets (CACTUs, Hsu, Levine, Finn,
    arXiv:1810.02334).
    """
    if config.concepts:
        return target_sets(problem, config)
    whole = unlabelled(problem, config).target
    n = min(len(problem.train.sets), default_n_sets(len(whole.index)))
    found = clusters_of(whole.file, whole.index, n, config.seed)
    names = tuple(f"cluster {c}" for c in range(n))
    pool = pool_by_labels(whole.file, names, whole.index, found)
    return TargetOnly(with_at_least(pool, config.n_shots))


CLASSIFY_ALL = Stage("classify", classify_all_target, lambda c: c.classify_rate, ordinary=True)

RECONSTRUCT = Trained(
    "unsupervised meta-learning (reconstruct)",
    unlabelled,
    start_decoder,
    (Stage("reconstruct", reconstruct, lambda config: config.align_rate),),
    check=check_rows,
)
WEAK_LABELS = Trained(
    "unsupervised meta-learning (weak labels)",
    pseudo_classes,
    start,
    (CLASSIFY_TARGET,),
    check=check,
)
SET_CLASSIFIER = Trained(
    "classifier of the pairs' sets",
    target_sets,
    start_classifier,
    (CLASSIFY_ALL,),
    check=check_sets,
)
ORACLE = Trained("oracle: target labels", target_labels, start, (CLASSIFY_TARGET,), check=check)
TARGET_CLASSIFIER = Trained(
    "classifier: target labels", target_labels, start_classifier, (CLASSIFY_ALL,), check=check
)
