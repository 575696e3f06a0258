"""Less data, wrong labels, sets by clustering: what is left out, and what stays as it was."""

from itertools import pairwise

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from xmg.cache import Sealed, XmgError
from xmg.engine.data.pool import flipped, labelled_pool
from xmg.engine.data.problem import open_problem
from xmg.engine.data.streams import Stream, generator
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.data.tasks import validation_tasks
from xmg.engine.data.thinning import clustered, fewer_rows, fewer_sets
from xmg.engine.methods.system import samples_read
from xmg.engine.systems import SYSTEMS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return synthetic.write_pair(folder, n_classes=12, per_class=20, latent=4, dim=6)


def config_of(files, **settings):
    return synthetic.config_of(*files, **settings)


def sets_of(files):
    return synthetic.sets_of(*files, [f"c{c:02d}" for c in range(12)])


def within_bounds(n_wrong, n, rate):
    low, high = binom.interval(1 - 1e-6, n, rate)
    return low <= n_wrong <= high


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_noise_is_symmetric(rate, n_classes):
    labels = np.repeat(np.arange(n_classes), 20_000 // n_classes)
    found = flipped(labels, n_classes, rate, np.random.default_rng(3))
    assert within_bounds((found != labels).sum(), 20_000, rate)
    away = (found - labels)[found != labels] % n_classes
    if n_classes > 2:
        assert chisquare(np.bincount(away, minlength=n_classes)[1:]).pvalue > 1e-4
    per_class = np.bincount(labels[found != labels], minlength=n_classes)
    assert all(within_bounds(n, 20_000 // n_classes, rate) for n in per_class)


@given(st.integers(1, 6), st.floats(0, 0.99), st.integers(0, 2**32))
def test_noisy_labels_are_labels(n_classes, rate, seed):
    labels = np.arange(30) % n_classes
    found = flipped(labels, n_classes, rate, np.random.default_rng(seed))
    assert found.shape == labels.shape and ((found >= 0) & (found < n_classes)).all()
    if n_classes == 1 or rate == 0:
        npt.assert_array_equal(found, labels)


@pytest.mark.parametrize("rate", [0.2, 0.6])
def test_supports_are_noisy_and_queries_clean(files, rate):
    config = config_of(files, label_noise=rate, n_repeats=150, n_validation=300, n_way=3)
    problem = open_problem(config)
    clean = open_problem(config_of(files))
    for found in (
        frozen_tasks(problem.test, config, [1, 3]),
        validation_tasks(problem.validation, config, [1, 3]),
    ):
        tasks = found[3]
        told, truth = tasks.support_labels.numpy(), np.repeat(np.arange(3), 3)
        assert within_bounds((told != truth).sum(), told.size, rate)
        away = (told - truth)[told != truth] % 3
        assert chisquare(np.bincount(away, minlength=3)[1:]).pvalue > 1e-4
        npt.assert_array_equal(tasks.query_labels, np.repeat(np.arange(3), config.n_query))
        one = found[1].support_labels.numpy()
        npt.assert_array_equal(told.reshape(-1, 3, 3)[:, :, :1].reshape(-1, 3), one)
        for e, names in enumerate(tasks.names):  # the names are the truth, whatever was told
            assert tuple(files[1].class_names(tasks.query[e, :, 0])) == names
    assert frozen_tasks(clean.test, config_of(files), [3])[3].labels is None


def test_noise_in_validation_and_test_differs(files):
    config = config_of(files, label_noise=0.5, n_repeats=4, n_tasks=4, n_validation=16)
    problem = open_problem(config)
    test = frozen_tasks(problem.test, config, [3])[3].support_labels
    validation = validation_tasks(problem.validation, config, [3])[3].support_labels
    assert (test != validation).any()


def test_labels_that_systems_read_in_meta_training_are_noisy(files):
    rate = 0.4
    pool = open_problem(config_of(files, label_noise=rate)).labelled.target
    told = np.concatenate([[pool.classes[c]] * n for c, n in enumerate(pool.sizes)])
    truth = np.array(files[1].class_names(pool.rows))
    assert len(truth) == 6 * 20
    assert within_bounds((told != truth).sum(), len(truth), rate)


def test_without_noise_the_labels_are_the_files(files):
    pool = open_problem(config_of(files)).labelled.target
    for c, name in enumerate(pool.classes):
        assert set(files[1].class_names(pool.members(c))) == {name}
        assert pool.sizes[c] == 20
    assert isinstance(pool.file, Sealed)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_labelled_rows_are_shared_out_class_by_class(files, share):
    """Twin: each class in turn, from the rows of all."""
    rng = np.random.default_rng(5)
    config = config_of(files, label_share=share)
    rows, classes = rng.choice(240, 150), [f"c{c:02d}" for c in (7, 2, 11, 5)]
    rows = rows[files[1].labels[rows] != 5]
    pool = labelled_pool(files[1], classes, rows, config)
    draw, once = generator(config.seed, Stream.NOISE), np.array(sorted(set(rows.tolist())))
    assert pool.classes == ("c07", "c02", "c11")  # of the last there is no row
    for place, c in enumerate((7, 2, 11)):
        own = once[[files[1].labels[row] == c for row in once]]
        kept = draw.permutation(own)[: round(share * len(own))]
        assert pool.members(place).tolist() == sorted(kept.tolist())


def test_a_class_that_noise_empties_is_left_out(files):
    """Two classes of two rows each, nearly all labels turned around."""
    config = config_of(files, label_noise=0.97, label_share=0.05)
    rows = np.concatenate([files[1].rows_of(c) for c in range(3)])
    sizes = [
        labelled_pool(files[1], files[1].classes[:3], rows,
                      config.model_copy(update={"seed": seed})).sizes
        for seed in range(20)
    ]  # fmt: skip
    assert min(len(s) for s in sizes) < 3 and all((s > 0).all() for s in sizes)
    assert all(s.sum() == 3 for s in sizes)


SHARES = (0.05, 0.3, 0.5, 1.0)


def nested(parts):
    return all(set(a) < set(b) for a, b in pairwise(parts))


@pytest.mark.parametrize("seed", range(3))
def test_fewer_labels_lie_inside_more(files, seed):
    pools = [
        open_problem(config_of(files, label_share=s, seed=seed)).labelled.target for s in SHARES
    ]
    assert nested([pool.rows.tolist() for pool in pools])
    for share, pool in zip(SHARES, pools, strict=True):
        assert pool.classes == pools[-1].classes
        assert (pool.sizes == round(share * 20)).all()


@pytest.mark.parametrize("seed", range(3))
def test_fewer_target_rows_lie_inside_more(files, seed):
    sets = sets_of(files)
    found = [fewer_rows(sets, config_of(files, target_share=s, seed=seed)) for s in SHARES]
    assert nested([one.target_rows.tolist() for one in found])
    for share, one in zip(SHARES, found, strict=True):
        npt.assert_array_equal(np.diff(one.target_offsets), max(1, round(share * 20)))
        npt.assert_array_equal(one.source_rows, sets.source_rows)
        assert one.names == sets.names
        owner = np.repeat(np.arange(12), np.diff(one.target_offsets))
        npt.assert_array_equal(files[1].labels[one.target_rows], owner)


def test_a_set_keeps_one_row_at_least(files):
    found = fewer_rows(sets_of(files), config_of(files, target_share=1e-6))
    npt.assert_array_equal(np.diff(found.target_offsets), 1)


@pytest.mark.parametrize("seed", range(3))
def test_fewer_sets_lie_inside_more(files, seed):
    sets = sets_of(files)
    found = [fewer_sets(sets, config_of(files, n_train_sets=n, seed=seed)) for n in (2, 5, 11, 12)]
    assert [len(one) for one in found] == [2, 5, 11, 12]
    assert nested([one.names for one in found])
    for one in found:
        assert list(one.names) == sorted(one.names)
        for i, name in enumerate(one.names):
            for file, rows, ends in (
                (files[0], one.source_rows, one.source_offsets),
                (files[1], one.target_rows, one.target_offsets),
            ):
                own = rows[ends[i] : ends[i + 1]]
                npt.assert_array_equal(np.sort(own), file.rows_of(file.classes.index(name)))


def test_which_sets_are_kept_follows_the_seed(files):
    sets = sets_of(files)
    kept = {fewer_sets(sets, config_of(files, n_train_sets=3, seed=s)).names for s in range(6)}
    assert len(kept) > 1


def test_more_sets_than_there_are(files):
    with pytest.raises(XmgError, match=r"n_train_sets = 13, and the pairs form 12 sets\. fix"):
        fewer_sets(sets_of(files), config_of(files, n_train_sets=13))


@pytest.mark.parametrize(("n", "expected"), [(9, 3), (100, 10), (240, 15), (2, 2)])
def test_as_many_clusters_as_the_root_of_the_pairs(files, n, expected):
    """No label is read: the file is sealed."""
    found = clustered(Sealed(files[0]), np.arange(n), config_of(files, sets="clusters"))
    assert len(found) == n and len(set(found)) == expected


def test_clusters_are_sets_of_the_training_pairs(files):
    problem = open_problem(config_of(files, sets="clusters"))
    plain = open_problem(config_of(files, sets="id"))
    sets = problem.train.sets
    assert len(sets) == round(len(plain.train.sets) ** 0.5) == 11
    npt.assert_array_equal(np.sort(sets.source_rows), np.sort(plain.train.sets.source_rows))
    npt.assert_array_equal(files[0].ids[sets.source_rows], files[1].ids[sets.target_rows])
    again = open_problem(config_of(files, sets="clusters"))
    npt.assert_array_equal(again.train.sets.source_rows, sets.source_rows)
    seven = open_problem(config_of(files, sets="clusters", n_clusters=7))
    assert len(seven.train.sets) == 7


def test_clusters_hold_what_lies_together(tmp_path):
    """Four directions far apart, whatever the lengths of rows and their labels."""
    rng = np.random.default_rng(0)
    which = rng.permutation(np.repeat(np.arange(4), 30))
    x = np.eye(4)[which] * rng.uniform(0.1, 50, (120, 1)) + 0.001 * rng.normal(size=(120, 4))
    file = synthetic.write(tmp_path / "x.h5", x.astype("f4"), synthetic.names(10, 12))
    config = synthetic.config_of(file, file, sets="clusters", n_clusters=4)
    found = np.array(clustered(file, np.arange(120), config))
    assert len({(w, c) for w, c in zip(which.tolist(), found.tolist(), strict=True)}) == 4


def test_more_clusters_than_pairs(files):
    config = config_of(files, sets="clusters", n_clusters=9)
    with pytest.raises(XmgError, match=r"n_clusters = 9, and there are 5 pairs.*fix"):
        clustered(files[0], np.arange(5), config)


def test_sequences_are_clustered_by_their_mean_frame(tmp_path):
    parts = [np.full((1 + i % 3, 2), [1, 0] if i % 2 else [0, 1], "f4") for i in range(20)]
    file = synthetic.write(tmp_path / "s.h5", parts, synthetic.names(2, 10), sequences=True)
    config = synthetic.config_of(file, file, sets="clusters", n_clusters=2)
    found = clustered(file, np.arange(20), config)
    assert found[::2] == [found[0]] * 10 and found[1::2] == [found[1]] * 10


@pytest.mark.parametrize("name", ["croma", "simpleshot", "set-classifier", "shared-target-labels"])
def test_a_sample_of_several_pairs_is_read_once(tmp_path, files, name):
    """Four texts of each picture: 6 classes of 5 pictures are left for meta-training."""
    table = tmp_path / "pairs.csv"
    lines = [f"id{i:05d},id{i - i % 4:05d}\n" for i in range(len(files[0]))]
    table.write_text("source_id,target_id\n" + "".join(lines))
    config = config_of(files, pairs=table)
    system = SYSTEMS[name]
    found = samples_read(system, system.view(open_problem(config), config))
    assert found == {"samples": 30, "labels": 30 if name == "shared-target-labels" else 0}
