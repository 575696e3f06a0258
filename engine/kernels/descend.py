"""All steps of a task in one call, where heads are nothing but a first layer: no other thread waits
for Python meanwhile."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from xmg.engine.kernels import gradients
from xmg.engine.kernels.product import pack_rows
from xmg.engine.kernels.sweep import ADAM, adam_step, sgd_step, sweep
from xmg.engine.kernels.sweep import project as project_rows

Array = npt.NDArray[np.floating]
Rows = npt.NDArray[np.int64]


class Layer(NamedTuple):
    """A first layer under way; see `sweep`."""

    start: Array  # (d', w'), as it comes; d' and w' are padded to whole tiles
    w: Array  # (d', w'), as it moves; may be start
    m: Array  # (d', w'), in the order of tiles
    v: Array  # (d', w')
    rows: Array  # (n, d)
    picks: Rows  # (T, m): step t reads rows[picks[t]]
    fixed: bool  # all steps read the same
    packed: Array  # (2, d', m' or more): rows of this step and the next
    z: Array  # (m, w): projections
    unit: Array  # (m, w): the same, of length 1
    d: Array  # (m, w): gradients by projections
    z_wide: Array  # (m', w')
    d_wide: Array  # (m', w')


class Steps(NamedTuple):
    """The optimizer: its kind, and what each step multiplies by."""

    kind: int  # ADAM or SGD
    constants: Array  # (T, c)


@njit(cache=True, nogil=True, error_model="numpy")
def begin(layer: Layer) -> None:
    """Project the rows of the first step."""
    pack_rows(layer.rows, layer.picks[0], layer.packed[0])
    project_rows(layer.start, layer.packed[0], layer.z_wide, layer.z)


@njit(cache=True, nogil=True, error_model="numpy")
def project(layer: Layer, t: int) -> None:
    """z of step t is there: `begin` or the step before has made it."""


@njit(cache=True, nogil=True, error_model="numpy")
def step(layer: Layer, steps: Steps, t: int) -> None:
    """Take step t from the gradients by its projections; these become the next ones."""
    last = t + 1 == len(steps.constants)
    now, following = layer.packed[t % 2], layer.packed[(t + 1) % 2]
    if layer.fixed:
        now = following = layer.packed[0]
    elif not last:
        pack_rows(layer.rows, layer.picks[t + 1], following)
    sweep(
        layer.start, layer.w, layer.m, layer.v, now, layer.d, following, steps.kind,
        steps.constants[t], t == 0, last, t % 2 == 0, layer.d_wide, layer.z_wide, layer.z,
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def end(layer: Layer) -> None:
    """After the last step the weights are where they belong."""


@njit(cache=True, nogil=True, error_model="numpy")
def dense_step(steps: Steps, t: int, w: Array, g: Array, m: Array, v: Array) -> None:
    """Take step t on any other parameter, all arrays flat."""
    if steps.kind == ADAM:
        adam_step(w, g, m, v, steps.constants[t], t == 0)
    else:
        sgd_step(w, g, m, steps.constants[t], t == 0)


@njit(cache=True, nogil=True, error_model="numpy")
def alignment(
    source: Layer, target: Layer, steps: Steps, loss: tuple[int, float, int, bool], losses: Array
) -> None:
    """Descend `gradients.alignment`, `loss` being its settings; losses (T,) before each step."""
    kind, constant, n_sets, shared = loss
    begin(source)
    begin(target)
    for t in range(losses.size):
        losses[t] = gradients.alignment(
            source.z, target.z, kind, constant, n_sets, shared, source.unit, target.unit, source.d,
            target.d,
        )  # fmt: skip
        if t % 2 == 0:  # what was passed last is still in the caches
            step(target, steps, t)
            step(source, steps, t)
        else:
            step(source, steps, t)
            step(target, steps, t)


@njit(cache=True, nogil=True, error_model="numpy")
def classification(
    source: Layer, phi: Array, steps: Steps, labels: Rows, tau: float, losses: Array
) -> None:
    """Descend `gradients.classification`, phi (w, C) in place; labels (T, m)."""
    d_phi = np.empty_like(phi)
    m, v = np.empty(phi.size, phi.dtype), np.empty(phi.size, phi.dtype)
    begin(source)
    for t in range(losses.size):
        losses[t] = gradients.classification(source.z, phi, labels[t], tau, source.d, d_phi)
        step(source, steps, t)
        dense_step(steps, t, phi.ravel(), d_phi.ravel(), m, v)
