"""Frozen tasks: nested shots, fixed class sets, recordings apart."""

import naive
import numpy as np
import numpy.testing as npt
import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.data.episodes import draw_class_sets, draw_pairs, draw_tasks
from xmg.engine.data.pool import pool_of
from xmg.engine.data.problem import open_problem
from xmg.engine.data.streams import Stream, key_of
from xmg.engine.data.tasks import class_sets, selection_tasks, validation_tasks
from xmg.engine.data.tasks import test_tasks as frozen_tasks
from xmg.engine.data.views import MetaTest, MetaValidation


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return synthetic.write_pair(folder, n_classes=10, per_class=12, latent=4, dim=6)


def config_of(files, **settings):
    return synthetic.config_of(*files, **settings)


def test_streams_have_keys_of_their_own():
    keys = {int(key_of(seed, stream)) for seed in range(9) for stream in Stream}
    assert len(keys) == 9 * len(Stream)
    assert int(key_of(5, Stream.ALIGN)) == naive.child(5, 1)


def test_pools_hold_the_rows_of_their_classes(files):
    pool = pool_of(files[1], ["c07", "c02"])
    assert pool.classes == ("c07", "c02")
    assert pool.members(0).tolist() == [*range(84, 96)]
    assert pool.members(1).tolist() == [*range(24, 36)]
    assert pool.rows.tolist() == [*range(84, 96), *range(24, 36)]


def test_pools_leave_rows_out(files):
    pool = pool_of(files[1], ["c07", "c02"], np.array([84, 90, 24, 24, 35, 0]))
    assert pool.members(0).tolist() == [85, 86, 87, 88, 89, 91, 92, 93, 94, 95]
    assert pool.members(1).tolist() == [*range(25, 35)]
    assert pool.index.tolist() == pool.rows.tolist()


def test_pairs_of_an_episode_twin(files):
    sets = synthetic.sets_of(*files, files[0].classes[:4])
    rows = [list(range(12 * c, 12 * c + 12)) for c in range(4)]
    key = key_of(3, Stream.ALIGN)
    found = draw_pairs(sets, key, 6, (3, 2, 5))
    twin = naive.pairs(int(key), 6, rows, rows, 3, 6, 5)
    assert tuple(part.tolist() for part in found) == twin


def test_fixed_class_sets(files):
    problem = open_problem(config_of(files, n_tasks=20))
    config = config_of(files, n_tasks=20, n_repeats=3)
    sets = class_sets(problem.test, config)
    assert sets.shape == (20, 3)
    assert all(len(set(row)) == 3 for row in sets.tolist())
    test = problem.test.target
    support = frozen_tasks(problem.test, config, [3])[3].support
    owner = {row: c for c in range(3) for row in test.members(c)}
    classes = np.vectorize(owner.get)(support[:, :, 0])
    for repeat in range(3):  # episode r * n_tasks + t is repeat r of task t
        npt.assert_array_equal(classes[20 * repeat : 20 * repeat + 20], sets)
    assert not np.array_equal(support[:20], support[20:40])


def check_nested(tasks):
    one, three = tasks[1], tasks[3]
    npt.assert_array_equal(one.query, three.query)
    npt.assert_array_equal(one.support, three.support[:, :, :1])


@pytest.mark.parametrize("seed", range(3))
def test_shots_are_nested(files, seed):
    config = config_of(files, n_tasks=8, n_repeats=10, seed=seed)
    problem = open_problem(config)
    check_nested(frozen_tasks(problem.test, config, (1, 3)))
    check_nested(validation_tasks(problem.validation, config, (1, 3)))


def recorded(folder):
    """Recordings of 2 clips, 10 clips a class: 4 queries leave 6, 4 or 2 clips for support."""
    labels = synthetic.names(3, 10)
    columns = {"recording": [f"r{i // 2}" for i in range(30)]}
    x = np.random.default_rng(0).normal(size=(30, 2))
    return synthetic.write(folder / "recorded.h5", x, labels, columns=columns)


@pytest.mark.parametrize("part", [MetaTest, MetaValidation])
def test_shots_are_nested_where_recordings_are_kept_apart(tmp_path, part):
    file = recorded(tmp_path)
    pool = pool_of(file, file.classes)
    config = synthetic.config_of(file, file, n_tasks=8, n_repeats=10)
    draw = frozen_tasks if part is MetaTest else validation_tasks
    tasks = draw(part(pool), config, (1, 3))
    check_nested(tasks)
    npt.assert_array_equal(draw(part(pool), config, (1,))[1].support, tasks[1].support)
    for t in tasks.values():
        for support, query in zip(t.support, t.query, strict=True):
            assert not set(support.ravel() // 2) & set(query.ravel() // 2)


def test_a_recording_of_several_classes_is_kept_apart_in_each(tmp_path):
    """As docs/protocol.md says; across classes it may be on both sides."""
    columns = {"recording": [f"r{i % 7}" for i in range(80)]}
    labels = synthetic.names(4, 20)
    file = synthetic.write(tmp_path / "x.h5", np.ones((80, 2)), labels, columns=columns)
    support, query = draw_tasks(pool_of(file, file.classes), np.uint64(1), 0, (50, 3, 2, 4))
    for s, q in zip(support.reshape(-1, 2) % 7, query.reshape(-1, 4) % 7, strict=True):
        assert not set(s) & set(q)


def test_rows_without_a_recording_stand_alone(tmp_path):
    labels, x = synthetic.names(2, 6), np.ones((12, 2))
    file = synthetic.write(tmp_path / "x.h5", x, labels, columns={"recording": [""] * 12})
    support, query = draw_tasks(pool_of(file, file.classes), np.uint64(1), 0, (5, 2, 3, 3))
    assert all(len(set(s) | set(q)) == 12 for s, q in zip(
        support.reshape(5, -1).tolist(), query.reshape(5, -1).tolist(), strict=True))  # fmt: skip


def test_recordings_too_few_to_keep_apart(tmp_path):
    columns = {"recording": ["same"] * 12}
    file = synthetic.write(
        tmp_path / "x.h5", np.ones((12, 2)), synthetic.names(2, 6), columns=columns
    )
    with pytest.raises(XmgError, match=r"x\.h5: with 1 shots and 1 queries.*lower --shots"):
        draw_tasks(pool_of(file, file.classes), np.uint64(1), 0, (1, 2, 1, 1))


def test_x_holds_the_features_of_the_rows(files):
    config = config_of(files)
    problem = open_problem(config)
    tasks = frozen_tasks(problem.test, config, [1])[1]
    x = tasks.x[tasks.locate(tasks.query)].numpy()
    npt.assert_array_equal(x, files[1].features[tasks.query])


def test_digests_tell_episodes_apart(files):
    problem = open_problem(config_of(files))
    digests = [
        frozen_tasks(problem.test, config_of(files, seed=seed), [k])[k].digest()
        for seed in (0, 1)
        for k in (1, 3)
    ]
    assert len(set(digests)) == 4
    key = key_of(0, Stream.TEST_CLASSES)
    npt.assert_array_equal(
        draw_class_sets(problem.test.target, key, 5, 3)[:2],
        draw_class_sets(problem.test.target, key, 2, 3),
    )


def test_settings_are_chosen_on_validation_tasks_and_as_many_fresh_ones(files):
    config = config_of(files, n_validation=6)
    part = open_problem(config).validation
    seen, chosen = validation_tasks(part, config, [3])[3], selection_tasks(part, config, [3])[3]
    assert len(chosen.support) == 12
    npt.assert_array_equal(chosen.support[:6], seen.support)
    npt.assert_array_equal(chosen.query[:6], seen.query)
    assert not (chosen.support[6:, None] == seen.support).all((2, 3)).any()
