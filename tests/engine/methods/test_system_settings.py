"""A setting that does not fit a system is refused in words, or taken: it never crashes."""

from contextlib import suppress

import numpy as np
import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.systems import TRAINED
from xmg.engine.train import meta_train

SHARED = [name for name in TRAINED if name.startswith("shared")]
UNIMODAL = ["reconstruct", "weak-labels", "set-classifier", "oracle", "target-classifier"]
PLAIN = [name for name in TRAINED if name not in (*SHARED, *UNIMODAL)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return synthetic.write_pair(folder, n_classes=12, per_class=8, latent=4, dim=6)


def served(files, run, **settings):
    small = {"iterations": 1, "inner_steps": 2, "width": 8, "hidden": 12, "n_validation": 4}
    with suppress(XmgError):
        meta_train(synthetic.config_of(*files, **{**small, **settings}), run)


@pytest.mark.parametrize("settings", [{"head": "mlp"}, {"bias": True}], ids=str)
@pytest.mark.parametrize(
    "name",
    [*PLAIN, *UNIMODAL, *SHARED],
)
def test_heads(tmp_path, files, name, settings):
    served(files, tmp_path / "run", system=name, k_shot=3, **settings)


@pytest.mark.parametrize(
    "name",
    [*SHARED, "croma", *UNIMODAL],
)
def test_hard_negatives(tmp_path, files, name):
    served(files, tmp_path / "run", system=name, k_shot=3, hard=True, n_sets=2, n_candidates=20)


@pytest.mark.parametrize("name", ["croma", "oracle", "shared-target-labels"])
def test_classes_too_small_for_the_queries_of_fomaml(tmp_path, files, name):
    served(files, tmp_path / "run", system=name, meta_gradient="fomaml", k_shot=5)


def test_labels_too_few_for_shared_target_labels(tmp_path, files):
    served(files, tmp_path / "run", system="shared-target-labels", label_share=0.2, k_shot=3)


def few_classes(folder, n_left):
    """6 classes are held out; n_left train. The source has classes of its own."""
    n = 18 * (6 + n_left)
    x = np.random.default_rng(0).normal(size=(n, 4)).astype("f4")
    topics = [["news", "sport", "weather"][i % 3] for i in range(n)]
    return (
        synthetic.write(folder / "s.h5", x, topics),
        synthetic.write(folder / "t.h5", x, synthetic.names(6 + n_left, 18)),
    )


def test_classes_too_few_for_shared_target_labels(tmp_path):
    files = few_classes(tmp_path, 2)
    served(files, tmp_path / "run", system="shared-target-labels", sets="id")


def test_an_oracle_of_one_class_is_refused(tmp_path):
    """It would be trained to tell rows of one class apart by their place in the draw."""
    config = synthetic.config_of(
        *few_classes(tmp_path, 1), system="oracle", sets="id", iterations=1, n_validation=4
    )
    with pytest.raises(XmgError, match="groups of rows"):
        meta_train(config, tmp_path / "run")


def test_a_classifier_of_sets_needs_sets_of_several_pairs(tmp_path, files):
    config = synthetic.config_of(*files, system="set-classifier", sets="id", iterations=1)
    with pytest.raises(XmgError, match=r"set of its own.*fix: --sets label"):
        meta_train(config, tmp_path / "run")


@pytest.mark.parametrize(
    "name",
    [
        "croma",
        "align-meta-classify",
        "align-classify",
        "align-classify-adversarial",
        "align-classify-cycle",
        *UNIMODAL,
        *SHARED,
    ],
)
def test_a_target_of_sequences(tmp_path, files, name):
    rng = np.random.default_rng(0)
    frames = [rng.normal(size=(2 + i % 3, 5)).astype("f4") for i in range(len(files[0]))]
    names = synthetic.names(12, 8)
    target = synthetic.write(tmp_path / "f.h5", frames, names, sequences=True)
    served((files[0], target), tmp_path / "run", system=name, target_head="lstm", k_shot=3)
