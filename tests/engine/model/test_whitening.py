import numpy as np
import numpy.testing as npt
import pytest
import synthetic
import torch
from sklearn.covariance import shrunk_covariance

from xmg.cache import FeatureFile, XmgError
from xmg.engine.data.pool import pool_of
from xmg.engine.data.views import MetaTrain
from xmg.engine.model import whitening
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.model.whitening import fit_whitening, fit_whitenings


def correlated(n=200, dim=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim)) @ rng.normal(size=(dim, dim)) + 3 * rng.normal(size=dim)
    return x.astype("f4")


def fitted(tmp_path, x, dim, rows=None, a=0.1):
    file = synthetic.write(tmp_path / "x.h5", x, [None] * len(x))
    rows = np.arange(len(x)) if rows is None else rows
    return fit_whitening(file, rows, dim, a)


def equation(x, d, a=0.1):
    """The docstring's equation, with scikit-learn's shrunk covariance."""
    x = x.astype("f8")
    values, vectors = np.linalg.eigh(shrunk_covariance(np.cov(x.T, bias=True), shrinkage=a))
    values, vectors = values[::-1][:d], vectors[:, ::-1][:, :d]
    return (x - x.mean(0)) @ vectors / np.sqrt(values * d)


@pytest.mark.parametrize("dim", [2, 6])
def test_equation(tmp_path, dim):
    x = correlated()
    found = fitted(tmp_path, x, dim)(torch.from_numpy(x)).numpy()
    expected = equation(x, dim)
    npt.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)  # signs are free
    npt.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    npt.assert_allclose(found.mean(0), 0, atol=1e-5)
    assert (found**2).sum(1).mean() == pytest.approx(1, abs=0.35)


def test_non_negative_features_are_rooted(tmp_path):
    x = np.abs(correlated())
    front = fitted(tmp_path, x, 4)
    expected = equation(np.sqrt(x.astype("f8")), 4)
    assert front.root
    npt.assert_allclose(np.abs(front(torch.from_numpy(x)).numpy()), np.abs(expected), atol=1e-4)
    x[3, 2] = -1e-3
    assert not fitted(tmp_path, x, 4).root


def test_negative_values_after_a_root_count_as_zero(tmp_path):
    front = fitted(tmp_path, np.abs(correlated()), 4)
    x = torch.tensor([[-1.0, 1, 1, 1, 1, 1], [0.0, 1, 1, 1, 1, 1]])
    npt.assert_allclose(front(x)[0], front(x)[1], atol=1e-5)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_matter(tmp_path, monkeypatch, block):
    x = correlated()
    whole = fitted(tmp_path, x, 5)(torch.from_numpy(x))
    monkeypatch.setattr(whitening, "_BLOCK", block)
    npt.assert_allclose(fitted(tmp_path, x, 5)(torch.from_numpy(x)), whole, atol=1e-5)


def test_rows_count_once_and_others_not_at_all(tmp_path):
    x = correlated()
    once = fitted(tmp_path, x, 5, np.arange(50))
    twice = fitted(tmp_path, x, 5, np.concatenate([np.arange(50), np.arange(20)]))
    x[50:] = 99
    without = fitted(tmp_path, x, 5, np.arange(50))
    for other in (twice, without):
        assert torch.equal(once.matrix, other.matrix)


@pytest.mark.parametrize("constant", [0, 1, 1000])
def test_a_constant_column_stays_finite(tmp_path, constant):
    x = correlated()
    x[:, 2] = constant
    front = fitted(tmp_path, x, 6)
    assert front.matrix.shape == (6, 5)
    assert torch.isfinite(front(torch.from_numpy(x))).all()
    expected = equation(np.delete(x, 2, 1), 5) @ np.ones(5)
    assert np.isfinite(expected).all()


def test_fewer_rows_than_columns(tmp_path):
    x = correlated(n=4, dim=20)
    front = fitted(tmp_path, x, 16)
    assert front.matrix.shape == (20, 3)
    assert torch.isfinite(front(torch.from_numpy(x))).all()


@pytest.mark.parametrize("row", [[0, 0, 0], [5, 5, 5]])
def test_data_without_any_variance_stay_finite(tmp_path, row):
    x = np.tile(np.array(row, dtype="f4"), (9, 1))
    assert torch.isfinite(fitted(tmp_path, x, 2)(torch.from_numpy(x))).all()


def test_many_rows_do_not_cost_rank(tmp_path):
    x = np.random.default_rng(0).normal(size=(20_000, 3)) * [1, 0.1, 1e-3]
    assert fitted(tmp_path, x.astype("f4"), 3).matrix.shape == (3, 3)


def test_fronts_see_no_held_out_row(tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=6, per_class=10)
    sets = synthetic.sets_of(source, target, source.classes[:3])
    train = MetaTrain(pool_of(source, source.classes[:4]), target, sets)
    before = fit_fronts(train, 8)[0]
    x, y = source.features.copy(), target.features.copy()
    x[40:], y[30:] = 77, 77  # neither trained on nor paired
    labels = synthetic.names(6, 10)
    source = synthetic.write(tmp_path / "s.h5", x, labels)
    target = synthetic.write(tmp_path / "t.h5", y, labels)
    after = fit_fronts(MetaTrain(pool_of(source, source.classes[:4]), target, sets), 8)[0]
    assert torch.equal(before.source.matrix, after.source.matrix)
    assert torch.equal(before.target.matrix, after.target.matrix)
    assert before.source.matrix.shape == (16, 8) and before.target.matrix.shape == (48, 8)


@pytest.mark.parametrize("a", [0.1, 0.6])
def test_each_shrinkage(tmp_path, a):
    x = correlated()
    file = synthetic.write(tmp_path / "x.h5", x, [None] * len(x))
    rows = np.arange(len(x))
    one = fit_whitenings(file, rows, 6, (0.3, a, 0.8))[1]
    alone = fit_whitening(file, rows, 6, a)
    assert torch.equal(one.matrix, alone.matrix) and torch.equal(one.offset, alone.offset)
    expected = equation(x, 6, a)
    npt.assert_allclose(one(torch.from_numpy(x)).abs().numpy(), np.abs(expected), atol=1e-4)


def test_the_last_shrinkage_centres_and_turns(tmp_path):
    x = correlated()
    found = fitted(tmp_path, x, 6, a=1.0)(torch.from_numpy(x)).double().numpy()
    centred = x.astype("f8") - x.mean(0)
    scale = (found**2).sum() / (centred**2).sum()
    npt.assert_allclose(found @ found.T, scale * centred @ centred.T, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_features_are_named(tmp_path, value):
    file = synthetic.write(tmp_path / "x.h5", correlated(), [None] * len(correlated()))
    with open(file.path, "r+b") as raw:
        raw.seek(file.extents["features"][0])
        raw.write(np.full(3, value, "f4").tobytes())
    with pytest.raises(XmgError, match=r"x\.h5 holds NaN.*\nfix: xmg cache verify .*x\.h5"):
        fit_whitening(FeatureFile(file.path), np.arange(len(file)), 6)
