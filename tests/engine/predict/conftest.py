"""A run on synthetic modalities with classes enough that tasks of held-out ones are alike."""

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureFile
from xmg.engine.predict.model import load_model
from xmg.engine.train import meta_train

N_WAY, K = 3, 4


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    files = synthetic.write_pair(folder, n_classes=60, per_class=16, spread=1.4)
    config = synthetic.config_of(
        *files, iterations=3, n_validation=12, n_sets=8, n_way=N_WAY, shots=(1, K), n_query=5,
        front_shrinkage=0.1, start="cca", n_tasks=20,
    )  # fmt: skip
    meta_train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="session")
def model(run):
    return load_model(run)


@pytest.fixture(scope="session")
def target(run):
    return FeatureFile(run.parent / "target.h5")


@pytest.fixture
def task(target):
    """Support and query of three classes of the target, features and names."""
    return _task(target, ["c03", "c11", "c42"], 0, K)


@pytest.fixture
def task_of(target):
    """Tasks of any classes, drawn by a seed."""
    return lambda classes, seed, k: _task(target, classes, seed, k)


def _task(target, classes, seed, k):
    rng = np.random.default_rng(seed)
    rows = np.array([rng.permutation(target.rows_of(target.classes.index(c))) for c in classes])
    named = np.array(classes)
    support, query = rows[:, :k], rows[:, k:]
    return (
        target.features[support.ravel()], named.repeat(k),
        target.features[query.ravel()], named.repeat(query.shape[1]),
    )  # fmt: skip
