"""All SGD steps of a task in the span of its rows, in one call; see xmg.engine.inner.span."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels import gradients
from xmg.engine.kernels.descend import Steps
from xmg.engine.kernels.product import BLOCK, add_product, copy_corner, pack_rows
from xmg.engine.kernels.sweep import sgd_step
from xmg.engine.kernels.tile import COLUMNS, ROWS, multiply_add

Array = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]


class Span(NamedTuple):
    """A first layer as c W_0 + X^T A, seen through rows X (n, d); primes mark whole tiles."""

    weights: Array  # W_0 (d', h')
    out: Array  # (d', h'), where the weights end; may be W_0
    rows: Array  # X (n, d)
    across: Array  # X^T (d', n')
    gram: Array  # K = X X^T (n', n'')
    start: Array  # Z_0 = X W_0 (n', h')
    picks: Rows  # (T, m): step t reads rows picks[t]
    fixed: bool  # all steps read the same
    scales: Array  # (2,): c and beta
    moved: npt.NDArray[np.bool_]  # (n,): whether a row of A is not zero
    a: Array  # (n, h)
    b: Array  # (n, h): momentum
    z: Array  # (m, h): projections
    unit: Array  # (m, h): the same, of length 1
    d: Array  # (m, h): gradients by projections
    wide: Array  # (n, h'): memory for A


@njit(cache=True, nogil=True, error_model="numpy")
def begin(span: Span) -> None:
    """Look at the weights through the rows, before the first step."""
    pack_rows(span.rows, np.arange(len(span.rows)), span.across)
    span.gram[:], span.start[:] = 0, 0
    d = len(span.weights)
    add_product(span.across, span.across, 0, d, span.gram.shape[1], span.gram)
    add_product(span.across, span.weights, 0, d, span.weights.shape[1], span.start)
    span.a[:], span.b[:], span.moved[:] = 0, 0, False
    span.scales[0], span.scales[1] = 1, 0


@njit(cache=True, nogil=True, error_model="numpy")
def end(span: Span) -> None:
    """After the last step: the weights become c W_0 + X^T A."""
    out, n, width = span.out, len(span.a), span.out.shape[1]
    by_a, by_x = span.wide.shape[1], span.across.shape[1]
    span.wide[:] = 0
    copy_corner(span.a, span.wide)
    x, a = span.across.ravel(), span.wide.ravel()  # views
    to, c = out.ravel(), span.scales[0]
    moves = c != 1 or span.weights.ctypes.data != out.ctypes.data
    for i in range(0, len(out), BLOCK):
        stop = min(i + BLOCK, len(out))
        for r in range(i, stop if moves else i):
            for k in range(width):
                out[r, k] = c * span.weights[r, k]
        for j in range(0, width, COLUMNS):
            for r in range(i, stop, ROWS):
                multiply_add(to, r * width + j, width, x, r * by_x, by_x, 1, a, j, by_a, n)


@njit(cache=True, nogil=True, error_model="numpy")
def project(span: Span, t: int) -> None:
    """z = c Z_0 + K A, for the rows that step t reads."""
    picks, c = span.picks[0 if span.fixed else t], span.scales[0]
    for i in range(picks.size):
        row = picks[i]
        for k in range(span.z.shape[1]):
            span.z[i, k] = c * span.start[row, k]
        for j in range(span.moved.size):
            if span.moved[j]:
                gradients.add(span.z, i, span.gram[row, j], span.a, j)


@njit(cache=True, nogil=True, error_model="numpy")
def step(span: Span, steps: Steps, t: int) -> None:
    """B <- mu B + D + lambda A, beta <- mu beta + lambda c; A <- A - rate B, c <- c - rate beta."""
    picks = span.picks[0 if span.fixed else t]
    momentum, decay, rate = steps.constants[t][0], steps.constants[t][1], steps.constants[t][2]
    for j in range(span.moved.size):
        if span.moved[j]:
            a, b = span.a[j], span.b[j]
            for k in range(a.size):
                b[k] = momentum * b[k] + decay * a[k]
    for i in range(picks.size):  # a row that is read twice moves twice
        gradients.add(span.b, picks[i], span.b.dtype.type(1), span.d, i)
        span.moved[picks[i]] = True
    for j in range(span.moved.size):
        if span.moved[j]:
            gradients.add(span.a, j, -rate, span.b, j)
    span.scales[1] = momentum * span.scales[1] + decay * span.scales[0]
    span.scales[0] -= rate * span.scales[1]


@njit(cache=True, nogil=True, error_model="numpy")
def alignment(
    source: Span, target: Span, steps: Steps, loss: tuple[int, float, int, bool], losses: Array
) -> None:
    """Descend `gradients.alignment`, `loss` being its settings; losses (T,) before each step."""
    kind, constant, n_sets, shared = loss
    begin(source)
    begin(target)
    for t in range(losses.size):
        project(source, t)
        project(target, t)
        losses[t] = gradients.alignment(
            source.z, target.z, kind, constant, n_sets, shared, source.unit, target.unit, source.d,
            target.d,
        )  # fmt: skip
        step(source, steps, t)
        step(target, steps, t)
    end(source)
    end(target)


@njit(cache=True, nogil=True, error_model="numpy")
def classification(
    source: Span, phi: Array, steps: Steps, labels: Rows, tau: float, losses: Array
) -> None:
    """Descend `gradients.classification`, phi (w, C) in place; labels (T, m)."""
    d_phi, b = np.empty_like(phi), np.empty(phi.size, phi.dtype)
    begin(source)
    for t in range(losses.size):
        project(source, t)
        losses[t] = gradients.classification(source.z, phi, labels[t], tau, source.d, d_phi)
        step(source, steps, t)
        sgd_step(phi.ravel(), d_phi.ravel(), b, steps.constants[t], t == 0)
    end(source)
