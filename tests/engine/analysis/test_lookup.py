"""Looking up agrees with sorting all cosines, and says what training saw."""

import numpy as np
import pytest
import synthetic

from xmg.cache import FeatureSpec, FeatureWriter, Listing, XmgError, decode
from xmg.cache.read import FeatureFile
from xmg.engine.analysis.lookup import look_up, other, seen_rows, side_of
from xmg.engine.analysis.retrieval import open_aligned
from xmg.engine.train import meta_train


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lookup")
    files = synthetic.write_pair(folder, n_classes=12, per_class=12)
    config = synthetic.config_of(*files, iterations=3, n_validation=2, n_sets=4)
    meta_train(config, folder / "run")
    return open_aligned(folder / "run")


@pytest.mark.parametrize("side", ["source", "target"])
def test_hits_are_the_nearest_rows(aligned, side):
    rows = np.array([3, 77, 130])
    z = aligned.embed(side, rows)
    theirs = getattr(aligned, other(side))
    cosines = (z @ aligned.embed(other(side), np.arange(len(theirs))).T).numpy()
    for hits, expected in zip(look_up(aligned, side, z, 7), cosines, strict=True):
        assert [h.rank for h in hits] == list(range(1, 8))
        np.testing.assert_allclose([h.cosine for h in hits], np.sort(expected)[::-1][:7], atol=1e-6)
        for h in hits:
            row = decode(theirs.ids).index(h.id)
            assert expected[row] == pytest.approx(h.cosine, abs=1e-6)
            assert h.label == theirs.class_names()[row]
            assert h.seen == (row in seen_rows(aligned, other(side)))
    assert len(look_up(aligned, side, z[:1], 999)[0]) == len(theirs)


def test_training_saw_no_row_of_a_held_out_class(aligned):
    held = {*aligned.problem.validation.target.classes, *aligned.problem.test.target.classes}
    for side in ("source", "target"):
        file = getattr(aligned, side)
        seen = set(seen_rows(aligned, side).tolist())
        for row, name in enumerate(file.class_names()):
            assert (row in seen) == (name not in held)


def test_the_side_that_ids_are_of(aligned):
    assert side_of(aligned, ["id00000", "id00143"]) == "source"  # equal ids: the source's
    assert side_of(aligned, ["id00000", "else"]) is None


def gallery(path, file, rows=20, **spec):
    made = {"dataset": "other", "encoder": "none", "weights_sha256": "",
            "preprocessing": {"scale": 1, "compute": "bfloat16"}, "versions": {}}  # fmt: skip
    ids = [f"new{i}" for i in range(rows)]
    writer = FeatureWriter(
        path, FeatureSpec(**{**made, **spec}), Listing(ids, [None] * rows), file.dim,
        dtype="float32",
    )  # fmt: skip
    with writer:
        writer.put(0, np.asarray(file.features[:rows]))
    return FeatureFile(path)


def test_another_gallery(aligned, tmp_path):
    other_file = gallery(tmp_path / "g.h5", aligned.target)
    z = aligned.embed("source", np.arange(2))
    hits = look_up(aligned, "source", z, 30, other_file)
    expected = (z @ aligned.embed("target", np.arange(20)).T).numpy()
    for found, row in zip(hits, expected, strict=True):
        assert [h.id for h in found] == [f"new{i}" for i in np.argsort(-row, kind="stable")]
        assert {(h.label, h.seen) for h in found} == {(None, None)}


@pytest.mark.parametrize(
    "spec", [{"encoder": "else"}, {"weights_sha256": "0" * 64}, {"preprocessing": {"scale": 2}}]
)
def test_a_gallery_of_other_features_is_refused(aligned, tmp_path, spec):
    file = gallery(tmp_path / "g.h5", aligned.target, **spec)
    z = aligned.embed("source", np.arange(1))
    with pytest.raises(XmgError, match=r"(?s)holds other features than .*would be.*fix: extract"):
        look_up(aligned, "source", z, 1, file)
    with pytest.raises(XmgError, match="another shape"):  # the source's own, of another width
        look_up(aligned, "source", z, 1, gallery(tmp_path / "s.h5", aligned.source))
