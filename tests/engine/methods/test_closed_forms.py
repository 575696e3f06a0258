"""Closed forms and the moments they need, against definitions and other implementations."""

import numpy as np
import numpy.testing as npt
import pytest
import scipy.linalg
import synthetic
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm, ortho_group
from sklearn.covariance import shrunk_covariance
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge

from xmg.cache import Sealed
from xmg.cache.pairs import PairedSets
from xmg.engine.data.pool import pool_by_labels, pool_of
from xmg.engine.data.problem import open_problem
from xmg.engine.data.views import MetaTrain, TargetOnly
from xmg.engine.methods import class_mean
from xmg.engine.methods.maps import by_canonical, by_cca, by_csa, by_procrustes, by_ridge, mapped
from xmg.engine.model import set_statistics as statistics
from xmg.engine.model.closed_form import (
    cca,
    evidence,
    inverse_root,
    procrustes,
    product_svd,
    ridge,
    shrunk,
)
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.model.set_statistics import pair_statistics, set_statistics
from xmg.engine.model.whitening import Whitening

D_S, D_T = 4, 6


def bare(dim):
    return Whitening(torch.eye(dim), torch.zeros(dim), root=False)


def unit(x):
    x = np.asarray(x, float)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def view_of(folder, sizes, seed=0):
    """Sets of (source, target) sizes whose rows share a latent; rows lie scattered in files."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(len(sizes), 3))
    files, rows, offsets = [], [], []
    for side, dim in enumerate((D_S, D_T)):
        counts = [size[side] for size in sizes]
        mix = rng.normal(size=(3, dim))
        x = np.repeat(latent, counts, 0) @ mix + 0.7 * rng.normal(size=(sum(counts), dim)) + 0.4
        order = rng.permutation(len(x))
        stored = np.empty_like(x)
        stored[order] = x
        labels = synthetic.names(1, len(x))
        files.append(synthetic.write(folder / f"{side}.h5", stored.astype("f4"), labels))
        rows.append(order.astype(np.int64))
        offsets.append(np.r_[0, np.cumsum(counts)].astype(np.int64))
    names = tuple(f"set {i}" for i in range(len(sizes)))
    sets = PairedSets(names, offsets[0], rows[0], offsets[1], rows[1])
    return MetaTrain(pool_of(files[0], files[0].classes), Sealed(files[1]), sets)


def all_pairs(view):
    """Every pair of X_s x X_t, and its probability: a set by its target rows, then one of each."""
    s, t = unit(view.source.file.features), unit(view.target.features)
    sets, left, right, weight = view.sets, [], [], []
    for i in range(len(sets)):
        of_s = sets.source_rows[sets.source_offsets[i] : sets.source_offsets[i + 1]]
        of_t = sets.target_rows[sets.target_offsets[i] : sets.target_offsets[i + 1]]
        for a in of_s:
            for b in of_t:
                left.append(s[a])
                right.append(t[b])
                weight.append(len(of_t) / len(sets.target_rows) / (len(of_s) * len(of_t)))
    return np.array(left), np.array(right), np.array(weight)


def moments(view):
    s, t, w = all_pairs(view)
    s, t = s - w @ s, t - w @ t
    return (s.T * w) @ s, (t.T * w) @ t, (t.T * w) @ s


def moments_found(view):
    return pair_statistics(view, bare(D_S), bare(D_T))


def soften(c, a):
    return (1 - a) * c + a * np.trace(c) / len(c) * np.eye(len(c))


RNG = np.random.default_rng(5)
MANY = [(int(a), int(b)) for a, b in RNG.integers(1, 6, (30, 2))]
FEW = [(7, 9), (3, 30), (12, 2)]  # fewer sets than dimensions
STRONG = [(1, 1)] * 60
SIZES = pytest.mark.parametrize("sizes", [MANY, FEW, STRONG], ids=["many", "few", "strong"])


@SIZES
def test_moments_are_expectations_over_all_pairs(tmp_path, sizes):
    view = view_of(tmp_path, sizes)
    pair = moments_found(view)
    s, t, w = all_pairs(view)
    c_ss, c_tt, c_ts = moments(view)
    npt.assert_allclose(pair.source.mean, w @ s, atol=1e-12)
    npt.assert_allclose(pair.target.mean, w @ t, atol=1e-12)
    npt.assert_allclose(pair.source.covariance, c_ss, atol=1e-12)
    npt.assert_allclose(pair.target.covariance, c_tt, atol=1e-12)
    npt.assert_allclose(pair.cross, c_ts, atol=1e-12)


@pytest.mark.parametrize("block", [1, 3, 7, 10_000])
def test_moments_by_blocks(tmp_path, monkeypatch, block):
    view = view_of(tmp_path, MANY)
    whole = moments_found(view)
    monkeypatch.setattr(statistics, "_BLOCK", block)
    parts = moments_found(view)
    for one, two in zip(whole, parts, strict=True):
        for name in ("shares", "means", "mean", "covariance"):
            npt.assert_allclose(getattr(one, name), getattr(two, name), atol=1e-13)


def test_covariance_splits_into_between_and_within(tmp_path):
    view = view_of(tmp_path, MANY)
    found = moments_found(view).target
    x, sets = unit(view.target.features), view.sets
    parts = np.split(x[sets.target_rows], sets.target_offsets[1:-1])
    inside = sum(len(p) * np.cov(p.T, bias=True) for p in parts if len(p) > 1) / len(x)
    npt.assert_allclose(found.within, inside, atol=1e-12)
    between = (found.deviations.T @ found.deviations).numpy()
    npt.assert_allclose(between + inside, found.covariance, atol=1e-12)


def test_moments_of_sequences_are_of_mean_frames(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)).astype("f4") for n in (1, 4, 2, 3, 5, 2)]
    file = synthetic.write(tmp_path / "f.h5", parts, synthetic.names(2, 3), sequences=True)
    front = Whitening(torch.eye(3), torch.zeros(3), root=False, frames=True)
    rows, offsets = np.array([4, 0, 1, 5, 2, 3]), np.array([0, 2, 6])
    found = set_statistics(file, front, rows, offsets, torch.tensor([0.25, 0.75]).double())
    x = unit([parts[r].astype(float).mean(0) for r in rows])
    w = np.repeat([0.25 / 2, 0.75 / 4], [2, 4])
    npt.assert_allclose(found.mean, w @ x, atol=1e-7)
    npt.assert_allclose(found.covariance, ((x - w @ x).T * w) @ (x - w @ x), atol=1e-7)


@SIZES
@pytest.mark.parametrize("a", [1e-6, 0.1, 0.9])
def test_cca_solves_the_generalized_eigenproblem(tmp_path, sizes, a):
    view = view_of(tmp_path, sizes)
    found = cca(moments_found(view), a, width=64)
    c_ss, c_tt, c_ts = moments(view)
    c_ss, c_tt = soften(c_ss, a), soften(c_tt, a)
    joint = np.block([[np.zeros_like(c_tt), c_ts], [c_ts.T, np.zeros_like(c_ss)]])
    values = scipy.linalg.eigh(joint, scipy.linalg.block_diag(c_tt, c_ss), eigvals_only=True)
    r = len(found.correlations)
    assert r == min(len(sizes), D_S)
    values = values[::-1][:r]  # beyond 1 where shrinkage makes the leading variances smaller
    npt.assert_allclose(found.correlations, np.minimum(values, 1), atol=1e-7)
    s, t = found.source.numpy(), found.target.numpy()
    npt.assert_allclose(s.T @ c_ss @ s, np.eye(r), atol=1e-6)
    npt.assert_allclose(t.T @ c_tt @ t, np.eye(r), atol=1e-6)
    npt.assert_allclose(t.T @ c_ts @ s, np.diag(values), atol=1e-6)


def test_cca_of_strong_pairs_is_scikit_learns(tmp_path):
    view = view_of(tmp_path, STRONG)
    s, t, _ = all_pairs(view)
    model = CCA(D_S, scale=False, max_iter=20_000, tol=1e-14).fit(t, s)
    left, right = model.transform(t, s)
    theirs = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(left.T, right.T, strict=True)]
    found = cca(moments_found(view), 0.0, width=D_S)
    npt.assert_allclose(found.correlations, theirs, atol=1e-6)
    ours = t @ found.target.numpy()
    each = [abs(np.corrcoef(a, b)[0, 1]) for a, b in zip(ours.T, left.T, strict=True)]
    npt.assert_allclose(each, 1, atol=1e-5)


def test_cca_keeps_the_leading_directions(tmp_path):
    pair = moments_found(view_of(tmp_path, MANY))
    whole, part = cca(pair, 0.1, 64), cca(pair, 0.1, 2)
    assert part.source.shape == (D_S, 2) and part.target.shape == (D_T, 2)
    assert torch.equal(part.correlations, whole.correlations[:2])
    assert (whole.correlations.diff() <= 0).all() and whole.correlations[0] <= 1


@pytest.mark.parametrize("penalty", [1e-4, 1.0, 100.0])
def test_ridge_is_scikit_learns_on_all_pairs(tmp_path, penalty):
    view = view_of(tmp_path, MANY)
    s, t, w = all_pairs(view)
    _, c_tt, _ = moments(view)
    model = Ridge(penalty * np.trace(c_tt) / D_T, solver="cholesky").fit(t, s, sample_weight=w)
    npt.assert_allclose(ridge(moments_found(view), penalty), model.coef_.T, atol=1e-9)


def test_ridge_of_strong_pairs_is_scikit_learns(tmp_path):
    view = view_of(tmp_path, STRONG)
    s, t, _ = all_pairs(view)
    variance = np.cov(t.T, bias=True).trace() / D_T
    model = Ridge(0.3 * variance * len(t), solver="cholesky").fit(t, s)
    npt.assert_allclose(ridge(moments_found(view), 0.3), model.coef_.T, atol=1e-9)


def test_procrustes_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 5))
    found = procrustes(torch.from_numpy(a), torch.from_numpy(b))
    npt.assert_allclose(found, scipy.linalg.orthogonal_procrustes(a, b)[0], atol=1e-10)


@pytest.mark.parametrize(("d_a", "d_b"), [(3, 6), (6, 3)])
def test_procrustes_between_widths_is_the_best_of_isometries(d_a, d_b):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, d_a)), rng.normal(size=(20, d_b))
    r = procrustes(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    small = r @ r.T if d_a < d_b else r.T @ r
    npt.assert_allclose(small, np.eye(3), atol=1e-12)
    assert np.trace(r.T @ a.T @ b) == pytest.approx(np.linalg.norm(a.T @ b, "nuc"))


@pytest.mark.parametrize(("d_a", "d_b"), [(40, 40), (40, 30), (30, 40)])
def test_procrustes_of_few_rows_is_not_for_rounding_to_decide(d_a, d_b):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(9, d_a)), rng.normal(size=(9, d_b))
    r = procrustes(torch.from_numpy(a), torch.from_numpy(b))
    npt.assert_allclose(torch.linalg.svdvals(r), 1, atol=1e-12)
    nearest = np.linalg.norm(a.T @ b, "nuc")
    assert np.trace(r.numpy().T @ a.T @ b) == pytest.approx(nearest, rel=1e-6)
    for _ in range(5):
        moved = torch.from_numpy(a * (1 + 1e-15 * rng.normal(size=a.shape)))
        npt.assert_allclose(procrustes(moved, torch.from_numpy(b)), r, atol=1e-5)
    u, _, vh = np.linalg.svd(a.T @ b)  # others that bring the rows as near
    for _ in range(20):
        turn = np.eye(min(d_a, d_b))
        turn[9:, 9:] = ortho_group.rvs(len(turn) - 9, random_state=rng)
        other = u[:, : len(turn)] @ turn @ vh[: len(turn)]
        assert np.trace(other.T @ a.T @ b) == pytest.approx(nearest)
        assert other.trace() < r.trace() + 1e-6


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**32))
def test_product_svd(m, n, columns, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(m, columns)), rng.normal(size=(n, columns))
    u, c, v = product_svd(torch.from_numpy(a), torch.from_numpy(b))
    npt.assert_allclose((u * c) @ v.T, a @ b.T, atol=1e-10)
    r = min(m, n, columns)
    npt.assert_allclose(u.T @ u, np.eye(u.shape[1]), atol=1e-10)
    npt.assert_allclose(v.T[:r] @ v[:, :r], np.eye(r), atol=1e-10)
    values = np.linalg.svd(a @ b.T, compute_uv=False)
    npt.assert_allclose(c[:r], values[:r], atol=1e-10)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32))
def test_inverse_root_is_the_pseudo_inverses(d, rank, seed):
    x = np.random.default_rng(seed).normal(size=(d, min(d, rank)))
    root = inverse_root(torch.from_numpy(x @ x.T)).numpy()
    exact = np.linalg.pinv(x @ x.T, rcond=1e-11, hermitian=True)
    npt.assert_allclose(root @ root, exact, rtol=1e-5, atol=1e-5 * np.abs(exact).max())


def test_shrunk_is_scikit_learns():
    x = np.random.default_rng(0).normal(size=(9, 5))
    c = np.cov(x.T)
    npt.assert_allclose(shrunk(torch.from_numpy(c), 0.3), shrunk_covariance(c, 0.3))


@pytest.mark.parametrize("width", [None, 3])
def test_rows_whitened_within_sets_have_the_identity_inside(tmp_path, monkeypatch, width):
    monkeypatch.setattr(class_mean, "_SHRINKAGES", (1e-9,))
    monkeypatch.setattr(class_mean, "_WIDTHS", (width,))
    view = view_of(tmp_path, [(1, int(n)) for n in RNG.integers(2, 12, 25)])
    sets = view.sets
    owner = np.repeat(np.arange(len(sets)), np.diff(sets.target_offsets))
    pool = pool_by_labels(view.target, sets.names, sets.target_rows, owner)
    (learner,) = class_mean.within(TargetOnly(pool), synthetic.config_of(view.target, view.target))
    z = learner.front(torch.from_numpy(view.target.features[sets.target_rows].copy())).numpy()
    parts = np.split(z, sets.target_offsets[1:-1])
    inside = sum(len(p) * np.cov(p.T, bias=True) for p in parts) / len(z)
    npt.assert_allclose(inside, np.eye(z.shape[1]), atol=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_mapped_twin(weighted):
    rng = np.random.default_rng(0)
    shapes = (7, 5), (5, 3), (5,), (3,)
    x, matrix, mean, weights = (rng.normal(size=shape).astype("f4") for shape in shapes)
    front = Whitening(torch.from_numpy(matrix @ matrix.T), torch.ones(5), root=False)
    given = [torch.from_numpy(part) for part in (mean, matrix, weights)]
    found = mapped(front, *given[: 3 if weighted else 2])
    z = (unit(x @ front.matrix.numpy() - 1) - mean) @ matrix
    expected = unit(z) * weights if weighted else z
    npt.assert_allclose(found(torch.from_numpy(x)), expected, rtol=2e-5, atol=2e-6)


def test_csa_weighs_what_cca_finds(tmp_path):
    """Rows of CSA are unit rows of CCA at the same shrinkage, times rho, rho^1/2 and rho^2."""
    view = view_of(tmp_path, MANY)
    config = synthetic.config_of(view.source.file, view.target, width=64)
    x = torch.from_numpy(view.target.features.copy())
    plain = unit(by_cca(view, config)[2].front(x))  # all directions, shrinkage 0.1
    rows = [one.front(x).numpy() for one in by_csa(view, config)[:3]]
    rho = rows[0] / plain
    npt.assert_allclose(rho, np.broadcast_to(rho[0], rho.shape), rtol=2e-3)
    npt.assert_allclose(rows[1], plain * np.sqrt(rho[0]), rtol=2e-3, atol=1e-5)
    npt.assert_allclose(rows[2], plain * rho[0] ** 2, rtol=2e-3, atol=1e-5)
    assert (np.diff(rho[0]) <= 1e-5).all() and 0 <= rho[0].min() < rho[0].max() <= 1


@pytest.mark.parametrize("by", [by_cca, by_procrustes])
def test_no_direction_is_made_by_rounding(tmp_path, by):
    """Six sets span five directions; a sixth would lead elsewhere after a change of 1e-15."""
    files = synthetic.write_pair(tmp_path, n_classes=12, per_class=20)
    config = synthetic.config_of(*files, front_width=32)
    train = open_problem(config).train
    assert len(train.sets) == 6
    x = torch.from_numpy(train.target.features[:3].copy())
    assert {one.front(x).shape[1] for one in by(train, config)} == {5}


def test_every_map_has_candidates_that_differ(tmp_path):
    view = view_of(tmp_path, MANY)
    config = synthetic.config_of(view.source.file, view.target, width=3)
    x = torch.from_numpy(view.target.features[:5].copy())
    for candidates in (by_cca, by_csa, by_ridge):
        found = [one.front(x).numpy().ravel() for one in candidates(view, config)]
        assert len({row.tobytes() for row in found}) >= 3
    assert len(by_procrustes(view, config)) == 9


@given(st.floats(-0.95, 0.95), st.floats(-3, 3), st.floats(-3, 3))
def test_evidence_is_the_log_likelihood_ratio_of_being_a_pair(c, a, b):
    """What depends on both coordinates; the rest are the squares' own parts."""
    c = abs(c)
    weight = float(evidence(torch.tensor([c], dtype=torch.float64)))
    together = multivariate_normal([0, 0], [[1, c], [c, 1]])
    ratio = lambda a, b: together.logpdf([a, b]) - norm.logpdf(a) - norm.logpdf(b)  # noqa: E731
    crossed = ratio(a, b) - ratio(a, 0) - ratio(0, b) + ratio(0, 0)
    assert weight**2 * a * b == pytest.approx(crossed, abs=1e-9)


def test_canonical_directions_stand_beside_own_features(tmp_path):
    """The first candidate, written out: weight 4, shrinkage 0.1."""
    view = view_of(tmp_path, MANY)
    config = synthetic.config_of(view.source.file, view.target, width=64)
    fronts = fit_fronts(view, config.front_width)[0]
    front, pair = fronts.target, pair_statistics(view, fronts.source, fronts.target)
    one = cca(pair, 0.1, config.width)
    weights = (one.correlations / (1 - one.correlations.clamp_max(0.99) ** 2)) ** 0.5
    x = torch.from_numpy(view.target.features.copy())
    z = front(x).double()
    expected = np.concatenate([unit(z @ one.target * weights), 4 * unit(z)], 1)
    npt.assert_allclose(by_canonical(view, config)[0].front(x), expected, atol=1e-5)
