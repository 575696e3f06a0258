"""Retrieval: ranks and search beside NumPy twins, and runs whose answer is known."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch
import torch.nn.functional as F  # noqa: N812

from xmg.cache import FeatureFile, XmgError
from xmg.cache.pairs import join_ids
from xmg.engine.analysis import retrieval as module
from xmg.engine.analysis.retrieval import TIE, open_aligned, ranks, retrieval, search
from xmg.engine.model.fronts import Fronts
from xmg.engine.run import BEST, load_state, save_state
from xmg.engine.train import meta_train

CONCEPTS = """
validation = ["c03", "c04", "c05"]
test = ["c06", "c07", "c08"]
[concept.one]
source = ["c00", "c09"]
target = ["c00"]
[concept.two]
source = ["c01"]
target = ["c01", "c02"]
"""


def unit(rng, n, width=8):
    return F.normalize(torch.from_numpy(rng.normal(size=(n, width))).float(), dim=-1)


def naive_ranks(queries, gallery, wanted, keys):
    """Place of the best right answer in the sorted gallery, wrong ones first among equals."""
    found = []
    for z, want in zip(queries.double().numpy(), wanted.tolist(), strict=True):
        cosines = [float(z @ row) for row in gallery.double().numpy()]
        right = [c for c, key in zip(cosines, keys.tolist(), strict=True) if key == want]
        wrong = [c for c, key in zip(cosines, keys.tolist(), strict=True) if key != want]
        best = max(right, default=-np.inf)
        found.append(1 + sum(c >= best - TIE for c in wrong))
    return found


def naive_chance(n_right, n, k):
    """By the draws themselves: shuffled orders."""
    rng = np.random.default_rng(0)
    return np.mean([(rng.permutation(n)[:k] < n_right).any() for _ in range(4000)])


def tiny_run(folder, files, n_sets=4, **settings):
    config = synthetic.config_of(*files, iterations=3, n_validation=4, n_sets=n_sets, **settings)
    meta_train(config, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def strong(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strong")
    return tiny_run(folder, synthetic.write_pair(folder, n_classes=12, per_class=12))


@pytest.fixture(scope="module")
def weak(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weak")
    files = synthetic.write_pair(folder, n_classes=10, per_class=12)
    (folder / "concepts.toml").write_text(CONCEPTS)
    return tiny_run(folder, files, n_sets=2, concepts=folder / "concepts.toml")


@pytest.mark.parametrize("cells", [1, 37, 1 << 24])
@pytest.mark.parametrize("n_keys", [3, 40])
def test_ranks(monkeypatch, cells, n_keys):
    monkeypatch.setattr(module, "_CELLS", cells)
    rng = np.random.default_rng(n_keys)
    queries, gallery = unit(rng, 23), unit(rng, 31)
    gallery[7] = gallery[20] = gallery[3]  # ties among right and wrong answers
    wanted, keys = (torch.from_numpy(rng.integers(n_keys, size=n)) for n in (23, 31))
    found = ranks(queries, gallery, wanted, keys)
    assert found.tolist() == naive_ranks(queries, gallery, wanted, keys)


def test_ties_count_against_the_query():
    z = unit(np.random.default_rng(0), 1).expand(5, -1)
    item = torch.arange(5)
    assert ranks(z, z, item, item).tolist() == [5] * 5
    assert ranks(z, z, item * 0, item * 0).tolist() == [1] * 5  # all are right
    assert ranks(z, z, item + 9, item).tolist() == [6] * 5  # none is


def test_equal_sides_are_found_and_shuffled_ones_by_chance():
    z, item = unit(np.random.default_rng(1), 400), torch.arange(400)
    assert ranks(z, z, item, item).tolist() == [1] * 400
    mixed = torch.from_numpy(np.random.default_rng(2).permutation(400))
    found = ranks(z, z, item, mixed)
    p = 10 / 400
    assert (found <= 10).float().mean() < p + 4 * (p * (1 - p) / 400) ** 0.5
    assert abs(found.float().mean() - 200.5) < 4 * 400 / (12 * 400) ** 0.5


@pytest.mark.parametrize("n_right", [1, 3, 18])
def test_chance(n_right):
    found = list(module._chance(np.array([n_right]), 20))
    expected = [naive_chance(n_right, 20, k) for k in module.CUTOFFS]
    assert found == pytest.approx(expected, abs=0.04)
    assert list(module._chance(np.array([1]), 20)) == pytest.approx([0.05, 0.25, 0.5])
    assert list(module._chance(np.array([1]), 4)) == pytest.approx([0.25, 1, 1])


@pytest.mark.parametrize("cells", [1, 100, 1 << 24])
def test_search(monkeypatch, cells):
    monkeypatch.setattr(module, "_CELLS", cells)
    rng = np.random.default_rng(3)
    queries, gallery = unit(rng, 9), unit(rng, 50)
    cosines, found = search(queries, gallery, 4)
    all_of_them = queries.double().numpy() @ gallery.double().numpy().T
    npt.assert_array_equal(found, np.argsort(-all_of_them, axis=1)[:, :4])
    npt.assert_allclose(cosines, -np.sort(-all_of_them, axis=1)[:, :4], atol=1e-6)
    assert search(queries, gallery[:2], 4)[0].shape == (9, 2)


def test_faiss_finds_the_same(monkeypatch):
    pytest.importorskip("faiss", reason="the optional index of large galleries is not installed")
    rng = np.random.default_rng(4)
    queries, gallery = unit(rng, 30, 16), unit(rng, 1000, 16)
    cosines, found = module._search_torch(queries, gallery, 5)
    called = []
    index = module._search_faiss
    monkeypatch.setattr(module, "_search_faiss", lambda *x: called.append(1) or index(*x))
    monkeypatch.setattr(module, "_LARGE", 999)
    by_index, there = search(queries, gallery, 5)
    assert called
    npt.assert_array_equal(there, found)
    npt.assert_allclose(by_index, cosines, atol=1e-6)


def test_without_faiss_large_galleries_are_searched_too(monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 0)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    rng = np.random.default_rng(5)
    z = unit(rng, 6)
    assert search(z, z, 1)[1][:, 0].tolist() == list(range(6))


def test_strong_pairs_of_unseen_classes(strong):
    aligned = open_aligned(strong)
    source, target = aligned.source, aligned.target
    names = aligned.problem.test.target.classes
    s, t = join_ids(source, target)
    kept = [i for i, name in enumerate(target.class_names(t)) if name in names]
    z = {"source": aligned.embed("source", s[kept]), "target": aligned.embed("target", t[kept])}
    keys = {"item": torch.arange(len(kept)), "class": torch.from_numpy(target.labels[t[kept]])}
    found = retrieval(strong)
    ways = [("source", "target"), ("target", "source")]
    expected = [(*way, right) for way in ways for right in ("item", "class")]
    assert [(r.queries, r.gallery, r.right) for r in found] == expected
    for r in found:
        place = naive_ranks(z[r.queries], z[r.gallery], keys[r.right], keys[r.right])
        assert r.n_queries == r.n_gallery == 3 * 12
        assert r.recall == {k: pytest.approx(np.mean(np.array(place) <= k)) for k in (1, 5, 10)}
        assert r.median_rank == np.median(place)
        assert not r.seen
    assert all(found[i + 1].recall[1] >= found[i].recall[1] for i in (0, 2))
    assert found[0].recall[5] > 2 * found[0].chance[5]


def test_no_row_of_training_is_in_the_gallery(strong):
    aligned = open_aligned(strong)
    sets, train = aligned.problem.train.sets, aligned.problem.train.source.rows
    s, t = join_ids(aligned.source, aligned.target)
    kept = np.isin(t, aligned.problem.test.target.rows)
    assert not np.isin(t[kept], sets.target_rows).any()
    assert not np.isin(s[kept], [*sets.source_rows, *train]).any()


def test_embeddings_do_not_depend_on_blocks(strong, monkeypatch):
    aligned, rows = open_aligned(strong), np.arange(40)
    whole = aligned.embed("target", rows)
    monkeypatch.setattr(module, "_ROWS", 7)
    npt.assert_allclose(aligned.embed("target", rows), whole, atol=1e-6)
    npt.assert_allclose(whole.norm(dim=-1), 1, atol=1e-6)


def test_fewer_queries(strong):
    found = retrieval(strong, n_queries=10)
    assert {(r.n_queries, r.n_gallery) for r in found} == {(10, 36)}
    assert found == retrieval(strong, n_queries=10)


def test_one_modality_twice_under_one_head_is_always_found(tmp_path):
    _, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    twin = synthetic.write(tmp_path / "twin.h5", target.features, target.class_names())
    run = tiny_run(tmp_path, (FeatureFile(twin.path), target))
    state = load_state(run / BEST)
    same = {**state.theta, "source": state.theta["target"].clone()}
    fronts = Fronts(deepcopy(state.fronts.target), state.fronts.target)
    save_state(run / BEST, replace(state, theta=same, fronts=fronts))
    for r in retrieval(run):
        assert r.recall == {1: 1.0, 5: 1.0, 10: 1.0} and r.median_rank == 1


def test_weak_pairs_are_concepts_that_were_seen(weak):
    aligned = open_aligned(weak)
    found = retrieval(weak)
    assert [(r.queries, r.right, r.seen) for r in found] == [
        ("source", "concept", True),
        ("target", "concept", True),
    ]
    assert [(r.n_queries, r.n_gallery) for r in found] == [(36, 36), (36, 36)]
    sets = aligned.problem.train.sets
    z = [aligned.embed("source", sets.source_rows), aligned.embed("target", sets.target_rows)]
    keys = [torch.tensor([0] * 24 + [1] * 12), torch.tensor([0] * 12 + [1] * 24)]
    for i, r in enumerate(found):
        place = naive_ranks(z[i], z[1 - i], keys[i], keys[1 - i])
        assert r.median_rank == np.median(place)


@pytest.mark.parametrize("system", ["oracle", "reconstruct"])
def test_a_system_without_a_source_head_is_refused(tmp_path, system):
    files = synthetic.write_pair(tmp_path, n_classes=12, per_class=12)
    run = tiny_run(tmp_path, files, system=system)
    with pytest.raises(XmgError, match=rf"{system}.*no source head.*fix: name a run"):
        retrieval(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(XmgError, match="is not a run folder"):
        retrieval(tmp_path)


def test_meta_test_classes_without_a_pair_are_refused(strong, tmp_path):
    aligned = open_aligned(strong)
    held = set(aligned.problem.test.target.classes)
    source = aligned.source
    rows = [i for i, name in enumerate(source.class_names()) if name not in held]
    labels = [source.class_names()[i] for i in rows]
    ids = [source.ids[i].decode() for i in rows]
    fewer = synthetic.write(tmp_path / "fewer.h5", source.features[rows], labels, ids)
    with pytest.raises(XmgError, match=r"no pair of .*fewer\.h5 .*meta-test class.*fix: extract"):
        module._unseen_pairs(replace(aligned, source=fewer))


def test_pairs_that_share_a_row_are_one_item():
    source, target = np.array([7, 7, 3, 5, 2]), np.array([1, 4, 9, 4, 8])
    groups = module._linked(source, target)
    assert groups[0] == groups[1] == groups[3] and len(set(groups.tolist())) == 3
