"""Every system by name: the CROMA paper's rows, and rivals of today."""

from xmg.cache import XmgError
from xmg.cache.names import closest
from xmg.engine.methods import (
    align_classify,
    class_mean,
    cross_modal_probe,
    maps,
    pretraining,
    probes,
    shared,
    simpleshot,
    unimodal,
)
from xmg.engine.methods.align_meta_classify import ALIGN_META_CLASSIFY
from xmg.engine.methods.croma import CROMA
from xmg.engine.methods.system import ClosedForm, Trained

TRAINED: dict[str, Trained] = {
    "croma": CROMA,
    "align-meta-classify": ALIGN_META_CLASSIFY,
    "align-classify": align_classify.CONTRASTIVE,
    "align-classify-adversarial": align_classify.BY_CONFUSION,
    "align-classify-cycle": align_classify.BY_CYCLE,
    "shared": shared.SHARED,
    "shared-align": shared.SHARED_ALIGN,
    "shared-confusion": shared.SHARED_CONFUSION,
    "shared-target-labels": shared.SHARED_LABELS,
    "reconstruct": unimodal.RECONSTRUCT,
    "weak-labels": unimodal.WEAK_LABELS,
    "set-classifier": unimodal.SET_CLASSIFIER,
    "oracle": unimodal.ORACLE,
    "target-classifier": unimodal.TARGET_CLASSIFIER,
}

CLOSED_FORM: dict[str, ClosedForm] = {
    "pre-training": pretraining.PRETRAINING,
    "class-mean": class_mean.RAW,
    "class-mean-whitened": class_mean.WHITENED,
    "class-mean-within": class_mean.WITHIN,
    "simpleshot": simpleshot.SIMPLESHOT,
    "logistic-probe": probes.LOGISTIC,
    "ridge-probe": probes.RIDGE,
    "cross-modal-probe": cross_modal_probe.CROSS_MODAL_PROBE,
    "canonical": maps.CANONICAL,
    "cca": maps.CCA,
    "csa": maps.CSA,
    "procrustes": maps.PROCRUSTES,
    "ridge-map": maps.RIDGE_MAP,
}

SYSTEMS: dict[str, Trained | ClosedForm] = {**CLOSED_FORM, **TRAINED}


def system_of(name: str) -> Trained | ClosedForm:
    """Look a system up; raises XmgError naming the closest."""
    if name not in SYSTEMS:
        raise XmgError(
            f"there is no system {name!r}{closest(name, list(SYSTEMS))}. "
            f"fix: one of {', '.join(SYSTEMS)}"
        )
    return SYSTEMS[name]
