"""Split a pair of feature files into meta-train, meta-validation and meta-test.

Each part is a type of its own (`views`), and what trains or selects never receives a MetaTest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from xmg.cache import FeatureFile, Sealed, XmgError, decode
from xmg.cache.pairs import (
    Concepts,
    PairedSets,
    Rows,
    check_disjoint,
    class_numbers,
    concept_sets,
    group_pairs,
    join_ids,
    read_concepts,
    read_pairs,
)
from xmg.engine.config import Config
from xmg.engine.data.pool import Pool, labelled_pool, pool_of, sealed, with_at_least
from xmg.engine.data.serving import TooFewError, served
from xmg.engine.data.thinning import clustered, fewer_rows, fewer_sets
from xmg.engine.data.views import MetaTest, MetaTrain, MetaValidation, TargetOnly

_HELD_OUT = 0.1  # of the classes, each for validation and test


@dataclass(frozen=True, slots=True)
class Problem:
    """The three parts of one cross-modal generalization problem, and what some rows may read more.

    labelled: the classes of meta-training's target rows, for rows that declare to read them.
    """

    train: MetaTrain
    labelled: TargetOnly
    validation: MetaValidation
    test: MetaTest


def open_problem(config: Config) -> Problem:
    """Open both feature files and split them.

    Strong pairs: the target's classes are split at random. Pairs of held-out classes leave
    meta-training, with their source samples, the source classes of the same names, and those
    that occur in no other pairs. Weak pairs: classes in concepts train, the other target classes
    are held out, and source classes of those names leave; none of them is in a concept. Source
    classes with fewer than k_shot samples are left out. Raises XmgError where the data cannot serve
    the tasks.
    """
    source, target = FeatureFile(config.source), FeatureFile(config.target)
    if source.path.samefile(target.path):  # a copy is for who wants to see one modality twice
        raise XmgError(
            f"{source.path} is named as source and as target. fix: name one file for each modality"
        )
    for file, name in ((source, "source"), (target, "target")):
        _check_labelled(file, name)
        _check_head(file, name, getattr(config, f"{name}_head") or config.head)
    problem = served(partial(_split, source, target), config)
    _check_alignment(problem.train.sets, config)
    return problem


def _check_labelled(file: FeatureFile, name: str) -> None:
    """Raise XmgError for a file without a label: other settings or more rows would not help."""
    if not file.classes:
        few = "" if name == "source" else ", at least those of the classes to hold out"
        raise XmgError(
            f"{file.path} has no labelled rows, and tasks of the {name} are made of its classes. "
            f"fix: extract it with labels{few} (of a manifest --label-column)"
        )


def _split(source: FeatureFile, target: FeatureFile, config: Config) -> Problem:
    """Whatever comes out, be it enough for the tasks or not."""
    pool, sets, validation, test = (
        _weak(config, read_concepts(config.concepts), source, target)
        if config.concepts
        else _strong(config, source, target)
    )
    sets = fewer_rows(fewer_sets(sets, config), config)
    return Problem(
        MetaTrain(sealed(pool), Sealed(target), sets),
        _labelled_target(config, target, sets, {*validation, *test}),
        MetaValidation(sealed(pool_of(target, validation), alone=True)),
        MetaTest(sealed(pool_of(target, test), alone=True)),
    )


def _labelled_target(
    config: Config, target: FeatureFile, sets: PairedSets, held: set[str]
) -> TargetOnly:
    """The target rows of the sets by their own labels, as many as config.label_share says."""
    classes = [name for name in target.classes if name not in held]
    return TargetOnly(labelled_pool(target, classes, sets.target_rows, config))


def source_of_new_classes(problem: Problem, config: Config) -> Pool:
    """Source samples of the classes of validation and test, for a row that reads them.

    Raises XmgError where the source has no class of such a name.
    """
    names = (*problem.validation.target.classes, *problem.test.target.classes)
    return sealed(pool_of(FeatureFile(config.source), names))


Split = tuple[Pool, PairedSets, Sequence[str], Sequence[str]]


def _weak(config: Config, concepts: Concepts, source: FeatureFile, target: FeatureFile) -> Split:
    sets = concept_sets(concepts, source, target)
    used = {name for names in concepts.target.values() for name in names}
    borrowed = {name: concept for concept, names in concepts.source.items() for name in names}
    held = [*concepts.validation, *concepts.test]
    class_numbers(held, target, str(concepts.path))
    for name in held:
        if name in used or held.count(name) > 1:
            raise XmgError(f"{concepts.path}: held-out class {name!r} is listed elsewhere too")
        if name in borrowed:
            raise XmgError(
                f"{concepts.path}: class {name!r} is held out, and concept {borrowed[name]!r} "
                "trains on source samples of that name. fix: take it out of one of the two lists"
            )
    validation, test = concepts.validation, concepts.test
    if not held:
        free = [name for name in target.classes if name not in used and name not in borrowed]
        order = _shuffled(free, config.seed)
        validation, test = order[: len(order) // 2], order[len(order) // 2 :]
    pool = _drawable(source, {*validation, *test}, config)
    return pool, sets, validation, test


def strong_pairs(
    config: Config, source: FeatureFile, target: FeatureFile
) -> tuple[Rows, Rows, list[str] | None]:
    """Rows of the pairs (P,) on either side, and their sets where the table of pairs names them."""
    if config.pairs:
        return read_pairs(config.pairs, source, target)
    return *join_ids(source, target), None


def _strong(config: Config, source: FeatureFile, target: FeatureFile) -> Split:
    source_rows, target_rows, names = strong_pairs(config, source, target)
    _check_labels_agree(source, target, source_rows, target_rows)
    order = _shuffled(target.classes, config.seed)
    n_held = max(config.n_way, round(_HELD_OUT * len(order)))
    validation, test = order[:n_held], order[n_held : 2 * n_held]
    held = {*validation, *test}
    away = _labelled(target, target_rows, held)
    only_away = _classes(source, source_rows[away]) - _classes(source, source_rows[~away])
    unseen = held | only_away
    kept = ~np.isin(source_rows, source_rows[away]) & ~_labelled(source, source_rows, unseen)
    if not kept.any():
        raise TooFewError(
            f"{target.path} has {len(target.classes)} classes, and holding out {n_held} for "
            "meta-validation and as many for meta-test leaves no pair to train on"
        )
    pool = _drawable(source, unseen, config, source_rows[away])
    source_rows, target_rows = source_rows[kept], target_rows[kept]
    if names is None:
        names = _set_keys(config, source, source_rows)
    else:
        names = [names[i] for i in np.flatnonzero(kept)]
    sets = group_pairs(source_rows, target_rows, names)
    check_disjoint(sets, source, target)
    return pool, sets, validation, test


def _classes(source: FeatureFile, rows: Rows) -> set[str]:
    return {source.classes[c] for c in np.unique(source.labels[rows]) if c >= 0}


def _drawable(
    source: FeatureFile, unseen: set[str], config: Config, without: Rows | None = None
) -> Pool:
    """The seen classes with enough samples for a source task; a rare class stops no run."""
    pool = pool_of(source, [name for name in source.classes if name not in unseen], without)
    return with_at_least(pool, config.n_shots)


def _set_keys(config: Config, source: FeatureFile, rows: Rows) -> list[str]:
    if config.sets == "id":
        return decode(source.ids[rows])
    if config.sets == "clusters":
        return clustered(source, rows, config)
    labels = source.labels[rows]
    if (labels < 0).any():
        first = decode(source.ids[rows[labels < 0]][:1])[0]
        raise XmgError(
            f"the paired sample {first!r} of {source.path} has no label to form sets by. "
            "fix: --sets id, which makes every pair a set"
        )
    return [source.classes[c] for c in labels]


def _check_labels_agree(
    source: FeatureFile, target: FeatureFile, source_rows: Rows, target_rows: Rows
) -> None:
    """Where both files share their vocabulary, paired samples must carry the same label."""
    if not set(source.classes) & set(target.classes):
        return
    s, t = source.labels[source_rows], target.labels[target_rows]
    s_names = np.array([*source.classes, ""])[s]
    t_names = np.array([*target.classes, ""])[t]
    wrong = np.flatnonzero((s >= 0) & (t >= 0) & (s_names != t_names))
    if len(wrong):
        i = wrong[0]
        name, left, right = (
            decode(source.ids[source_rows[[i]]])[0],
            str(s_names[i]),
            str(t_names[i]),
        )
        raise XmgError(
            f"labels don't match: {name!r} is {left!r} in {source.path} and {right!r} in "
            f"{target.path} ({len(wrong)} such pairs).\n"
            "fix: correct the manifests and extract again"
        )


def _labelled(
    file: FeatureFile, rows: Rows, names: set[str]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    codes = [c for c, name in enumerate(file.classes) if name in names]
    return np.isin(file.labels[rows], codes)


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    return [names[i] for i in rng.permutation(len(names))]


def _check_head(file: FeatureFile, name: str, head: str) -> None:
    """Raise XmgError where a head does not fit what a file holds."""
    if file.is_sequence and head != "lstm":
        raise XmgError(
            f"{file.path} holds sequences of frames, and a {head} head needs one vector per "
            f"sample.\nfix: {name}_head = 'lstm' in a --config file, or extract with a pooled "
            "encoder, such as logmel40-stats for logmel40"
        )
    if head == "lstm" and not file.is_sequence:
        raise XmgError(
            f"{file.path} holds one vector per sample, and an lstm head needs sequences of frames. "
            f"fix: {name}_head = 'linear' in a --config file"
        )


def _check_alignment(sets: PairedSets, config: Config) -> None:
    """Raise XmgError where a task has no negatives left, or its steps cannot share its pairs."""
    n_sets = min(config.n_sets, len(sets))
    if (config.hard or config.negatives != "pair") and n_sets == len(sets):
        raise XmgError(
            f"a task takes all {n_sets} sets of pairs (n_sets = {config.n_sets}), and negatives "
            "that its pairs share come from outside them: none is left. fix: set n_sets to "
            f"{max(2, n_sets // 2)} in a --config file, or negatives = 'pair' and hard = false"
        )
    if config.batch and config.batch > n_sets and config.batch % n_sets:
        raise XmgError(
            f"a step of {config.batch} pairs cannot hold {n_sets} sets alike. fix: set batch to "
            f"at most {n_sets}, or to a multiple of it, in a --config file"
        )
