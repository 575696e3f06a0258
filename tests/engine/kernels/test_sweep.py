"""The kernels of first layers against plain NumPy, at sizes that fill no tile."""

import numpy as np
import numpy.testing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.kernels import product, sweep
from xmg.engine.kernels.product import skewed
from xmg.engine.kernels.tile import COLUMNS, ROWS, multiply_add, padded, whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(st.integers(0, 9), st.booleans(), st.integers(0, 2**32))
def test_a_tile_is_a_product(dtype, n, by_column, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(ROWS, n)).astype(dtype), rng.normal(size=(n, COLUMNS)).astype(dtype)
    wide_b = np.pad(b, ((0, 0), (0, 2)))
    before = rng.normal(size=(ROWS, COLUMNS + 3)).astype(dtype)
    c = np.concatenate([np.zeros(3, dtype), before.ravel(), np.zeros(3, dtype)])
    flat = np.concatenate([np.zeros(2, dtype), (a.T if by_column else a).ravel()])
    steps = (1, ROWS) if by_column else (n, 1)
    _tile(c, 3, COLUMNS + 3, flat, 2, *steps, wide_b.ravel(), 0, COLUMNS + 2, n)
    expected = before.copy()
    expected[:, :COLUMNS] += a @ b
    npt.assert_allclose(c[3:-3].reshape(before.shape), expected, rtol=1e-5, atol=1e-5)
    assert not c[:3].any() and not c[-3:].any()  # nothing beside it is touched


@sweep.njit(error_model="numpy")
def _tile(  # noqa: PLR0917 - as the kernel
    c, at_c, by_c, a, at_a, by_row, by_step, b, at_b, by_b, n
):
    multiply_add(c, at_c, by_c, a, at_a, by_row, by_step, b, at_b, by_b, n)


def packed(x, picks):
    out = np.full((padded(x.shape[1], ROWS), skewed(padded(len(picks), ROWS))), np.nan, x.dtype)
    product.pack_rows(x, np.array(picks, np.int64), out)
    return out


def test_rows_are_packed_by_column_and_padded():
    x = np.arange(12.0).reshape(4, 3)
    out = packed(x, [2, 0, 2, 1, 3])
    npt.assert_array_equal(out[:3, :5], x[[2, 0, 2, 1, 3]].T)
    assert not out[3:, :8].any() and not out[:, 5:8].any()


def memory(m, w):
    return np.full((padded(m, ROWS), skewed(padded(w, COLUMNS))), np.nan)


@given(st.integers(1, 70), st.integers(1, 6), st.integers(1, 70), st.integers(0, 2**32))
def test_a_product_is_added_block_by_block(d, m, w, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(m, d)), whole(rng.normal(size=(d, w)))
    to = rng.normal(size=(padded(m, ROWS), skewed(y.shape[1])))
    expected = to[:m, :w] + x @ y[:d, :w]
    product.add_product(packed(x, range(m)), y, 0, len(y), y.shape[1], to)
    npt.assert_allclose(to[:m, :w], expected, rtol=1e-9, atol=1e-9)


@given(
    st.integers(1, 150), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6), st.booleans(),
    st.booleans(), st.integers(0, 2**32),
)  # fmt: skip
def test_steps_by_blocks_are_steps_on_the_matrix(d, w, m, n_next, adam, in_place, seed):
    """First, later and last, with the rows of each step of another number."""
    rng = np.random.default_rng(seed)
    start, x = rng.normal(size=(d, w)), rng.normal(size=(9, d))
    picks = [rng.integers(0, 9, n) for n in (m, n_next, m)]
    begin = whole(start)
    moved = begin if in_place else np.full(begin.shape, np.nan)
    moments = [np.full(begin.shape, np.nan) for _ in range(2)]
    expected = start.copy()
    b, v = np.zeros((d, w)), np.zeros((d, w))
    z = np.full((m, w), np.nan)
    sweep.project(begin, packed(x, picks[0]), memory(m, w), z)
    npt.assert_allclose(z, x[picks[0]] @ start, rtol=1e-9, atol=1e-9)
    c = np.array([0.9, 0.999, 0.02 * 0.1, 3 * 0.001**0.5, 1e-8] if adam else [0.7, 0.01, 0.02])
    for t in range(3):
        gradient = rng.normal(size=(len(picks[t]), w))
        following = picks[min(t + 1, 2)]
        z = np.full((len(following), w), np.nan)
        sweep.sweep(
            begin, moved, *moments, packed(x, picks[t]), gradient, packed(x, following),
            sweep.ADAM if adam else sweep.SGD, c, t == 0, t == 2, t % 2 == 0,
            memory(len(picks[t]), w), memory(len(following), w), z,
        )  # fmt: skip
        g = x[picks[t]].T @ gradient
        if adam:
            b, v = 0.9 * b + 0.1 * g, 0.999 * v + 0.001 * g * g
            expected = expected - 0.02 * b / (np.sqrt(v) * 3 + 1e-8)
        else:
            b = 0.7 * b + g + 0.01 * expected
            expected = expected - 0.02 * b
        if t < 2:
            npt.assert_allclose(z, x[following] @ expected, rtol=1e-9, atol=1e-9)
    npt.assert_allclose(moved[:d, :w], expected, rtol=1e-9, atol=1e-10)
    if not in_place:
        npt.assert_array_equal(begin[:d, :w], start)  # where the step starts stays


@pytest.mark.parametrize("scale", [1.0, 0.03, 30.0])
def test_a_step_of_adam_divides_in_single_precision_whatever_the_size_of_gradients(scale):
    """Where the processor's estimates stand in for divisions and roots, too."""
    sizes = np.concatenate([[0.0], 10.0 ** np.arange(-30, 19)]).astype(np.float32)
    g = np.concatenate([sizes, -sizes, np.linspace(1e-9, 1e-7, 100, dtype=np.float32)])
    start, z = whole(np.zeros((g.size, 1), np.float32)), np.empty((1, 1), np.float32)
    moved, m, v = np.empty_like(start), np.empty_like(start), np.empty_like(start)
    rows, one = packed(g[None], [0]), np.ones((1, 1), np.float32)
    c = np.array([0.9, 0.999, 0.01, scale, 1e-8], np.float32)
    wide = [memory(1, 1).astype(np.float32) for _ in range(2)]
    sweep.sweep(
        start, moved, m, v, rows, one, rows, sweep.ADAM, c, True, True, False, *wide, z,
    )  # fmt: skip
    exact = g.astype(np.float64)
    expected = -0.01 * exact / (abs(exact) * np.float64(c[3]) + np.float64(c[4]))
    npt.assert_allclose(moved[: g.size, 0], expected, rtol=5e-7)
