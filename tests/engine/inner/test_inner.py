"""The two motions and CROMA's meta-iteration, step by step against float64 twins."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import naive
import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.config import LossName, make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner.choose import SOLVERS, solver_of
from xmg.engine.inner.phase import Optimizer, Phase
from xmg.engine.kernels.tile import COLUMNS
from xmg.engine.losses.objectives import Classification
from xmg.engine.methods.croma import CROMA
from xmg.engine.model.heads import Linear
from xmg.engine.training.meta_learn import adapt, meta_iteration
from xmg.engine.training.phases import align, classify, head_of, optimizer_of

PLACES = {"source": "s.h5", "target": "t.h5"}
MOVES = {
    "adam": ["reference", "direct", "batched"],
    "sgd": ["reference", "direct", "span", "batched"],
}


def doubles(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def tensors(arrays):
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


class Unknown(Linear):
    """A linear head that no solver knows to be one."""


@dataclass
class Quartic:
    """Of a head `a` and a dense parameter `b`."""

    dense: ClassVar = ("b",)

    def loss(self, y, t):
        return ((y["a"] * y["b"]) ** 4).sum() + (y["b"] ** 2).sum()


def quartic(x):
    """Such a phase, and its twin."""

    def twin(p):
        return np.sum((x @ p["a"] * p["b"]) ** 4) + np.sum(p["b"] ** 2)

    return Phase({"a": Unknown()}, {"a": torch.from_numpy(x)}, {}, Quartic()), twin


ADAM = Optimizer("adam", 0.05)
SGD = [Optimizer("sgd", 1e-4), Optimizer("sgd", 1e-4, 0.9), Optimizer("sgd", 1e-4, 0.5, 0.1)]
EACH = [(solver, o) for o in (ADAM, *SGD) for solver in MOVES[o.kind]]


def stepped(start, twin, n_steps, optimizer):
    if optimizer.kind == "adam":
        return naive.adam(start, twin, ["a", "b"], n_steps, optimizer.rate)
    constants = optimizer.rate, optimizer.momentum, optimizer.weight_decay
    return naive.sgd(start, twin, ["a", "b"], n_steps, *constants)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 10])
@pytest.mark.parametrize(("solver", "optimizer"), EACH)
def test_every_solver_takes_the_optimizers_steps(solver, optimizer, n_steps):
    given = doubles(0, a=(3, 2), b=(2,), x=(5, 3))
    phase, twin = quartic(given["x"])
    start = {name: given[name] for name in ("a", "b")}
    theta = tensors(start)
    moved, losses = SOLVERS[solver](theta, phase, n_steps, optimizer, {})
    for n in range(n_steps):
        assert losses[n] == pytest.approx(twin(stepped(start, twin, n, optimizer)), rel=1e-9)
    for name, value in stepped(start, twin, n_steps, optimizer).items():
        assert not moved[name].requires_grad
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-9, atol=1e-12)
        npt.assert_array_equal(theta[name].numpy(), start[name])  # the caller's stays


@pytest.mark.parametrize(("solver", "optimizer"), EACH)
def test_a_phase_starts_from_fresh_optimizer_state(solver, optimizer):
    given = doubles(0, a=(3, 2), b=(2,), x=(2, 3))
    phase, twin = quartic(given["x"])
    theta = tensors({name: given[name] for name in ("a", "b")})
    expected = {name: given[name] for name in ("a", "b")}
    for _ in range(3):
        theta, _ = SOLVERS[solver](theta, phase, 2, optimizer, {})
        expected = stepped(expected, twin, 2, optimizer)
    for name, value in expected.items():
        npt.assert_allclose(theta[name].numpy(), value, rtol=1e-9, atol=1e-12)


HEADS = [
    {"head": head, "bias": bias, "hidden": 5, "rank": 2}
    for head in ("linear", "mlp", "residual")
    for bias in (False, True)
]


@st.composite
def tasks(draw, optimizer, dtype=torch.float64):
    """CROMA's two phases over random shapes, heads, losses, plans and settings.

    Weights of a single input only scale unit rows: their gradient is rounding noise, which Adam
    turns into steps, so it is spared those.
    """
    n_sets, k_pairs, k = draw(st.integers(2, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    sizes = st.integers(2 if optimizer == "adam" else 1, 7)
    d_s, d_t, w, n_way, k_shot = draw(sizes), draw(sizes), draw(st.integers(2, 6)), 3, 2
    n, shared = n_sets * k_pairs, draw(st.sampled_from(["pair", "step", "task"]))
    negatives = {"pair": (n, k, d_t), "step": (6, k, d_t), "task": (k, d_t)}[shared]
    data = doubles(
        draw(st.integers(0, 2**32)), source=(n, d_s), target=(n, d_t), negatives=negatives,
        shots=(n_way * k_shot, d_s),
    )  # fmt: skip
    decay = {"momentum": draw(st.sampled_from([0, 0.5, 0.9])),
             "weight_decay": draw(st.sampled_from([0, 0.01, 0.3]))}  # fmt: skip
    config = make_config(
        **PLACES, n_way=n_way, loss=draw(st.sampled_from(get_args(LossName))), negatives=shared,
        margin=draw(st.sampled_from([0.1, 0.7])), tau=draw(st.sampled_from([0.1, 1.0])),
        batch=draw(st.sampled_from([None, 2, n_sets, 2 * n_sets])), n_negatives=k, inner_steps=6,
        optimizer=optimizer, **(decay if optimizer == "sgd" else {}),
        **draw(st.sampled_from(HEADS)),
    )  # fmt: skip
    theta = theta_of(config, draw(st.integers(0, 2**31)), d_s, d_t, w)
    data["labels"] = np.repeat(np.arange(n_way), k_shot)
    episode = episode_of(data, n_sets, dtype)
    phase = draw(st.sampled_from([align, classify]))(episode, config)
    theta = {name: value.to(dtype) for name, value in theta.items()}
    return theta, phase, optimizer_of(config, draw(st.sampled_from([1e-3, 0.02, 0.1])))


def episode_of(data, n_sets=3, dtype=torch.float64):
    """From source, target, negatives of any leading shape, shots and labels."""
    given = tensors(data)
    rows = torch.cat([given["target"], given["negatives"].flatten(0, -2)])
    source, target, shots = (x.to(dtype) for x in (given["source"], rows, given["shots"]))
    return Episode(source, target, shots, given["labels"], n_sets)


def theta_of(config, seed, d_s, d_t, w):
    """Heads and phi in general position: every parameter is random."""
    rng = torch.Generator().manual_seed(seed)
    head, empty = head_of(config, "source"), torch.zeros
    theta = head.begin("source", empty(d_s, w), rng) | head.begin("target", empty(d_t, w), rng)
    theta["phi"] = empty(w, config.n_way)
    return {name: torch.randn(v.shape, generator=rng).double() for name, v in theta.items()}


@pytest.mark.parametrize(
    ("kind", "solver"),
    [(kind, solver) for kind, solvers in MOVES.items() for solver in solvers[1:]],
)
@given(st.data(), st.integers(1, 6))
def test_fast_solvers_are_the_reference_step_by_step(kind, solver, data, n_steps):
    theta, phase, optimizer = data.draw(tasks(kind))
    for n in range(1, n_steps + 1):
        one, expected = SOLVERS["reference"](theta, phase, n, optimizer, {})
        two, found = SOLVERS[solver](theta, phase, n, optimizer, {})
        npt.assert_allclose(found, expected, atol=1e-10, rtol=1e-10)
        assert one.keys() == two.keys()
        for name, value in one.items():
            npt.assert_allclose(two[name].numpy(), value.numpy(), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("kind", "solver"), [("sgd", "direct"), ("sgd", "span")])
@given(st.data(), st.integers(1, 6))
def test_sgd_in_single_precision(kind, solver, data, n_steps):
    """Within 2e-3 of the scale of the reference's parameters, hinges and all."""
    theta, phase, optimizer = data.draw(tasks(kind, torch.float32))
    one, _ = SOLVERS["reference"](theta, phase, n_steps, optimizer, {})
    two, _ = SOLVERS[solver](theta, phase, n_steps, optimizer, {})
    for name, value in one.items():
        scale = max(float(value.abs().max()), float(theta[name].abs().max()))
        npt.assert_allclose(two[name].numpy(), value.numpy(), atol=2e-3 * scale)


@given(st.data(), st.integers(1, 6))
def test_adam_in_single_precision(data, n_steps):
    """A gradient that is rounding noise around zero moves a weight by the whole rate, either way:
    so weights agree within 2 n rates."""
    theta, phase, optimizer = data.draw(tasks("adam", torch.float32))
    one, _ = SOLVERS["reference"](theta, phase, n_steps, optimizer, {})
    two, _ = SOLVERS["direct"](theta, phase, n_steps, optimizer, {})
    for name, value in one.items():
        npt.assert_allclose(
            two[name].numpy(), value.numpy(), atol=2.01 * n_steps * optimizer.rate, rtol=1e-5
        )


@pytest.mark.parametrize("solver", ["direct", "batched"])
def test_adam_in_single_precision_moves_nearly_all_weights_alike(solver):
    """Where gradients are no noise: all but one in a hundred within a thousandth of a step."""
    rng, n_steps, optimizer = torch.Generator().manual_seed(0), 5, Optimizer("adam", 0.01)
    labels = (torch.arange(20) % 4).expand(n_steps, 20)
    objective = Classification(labels, 0.1, "source")
    rows, w = torch.randn(20, 60, generator=rng), torch.randn(60, 32, generator=rng)
    theta = {"source": w, "phi": torch.randn(32, 4, generator=rng)}
    phase = Phase({"source": Linear()}, {"source": rows}, {}, objective)
    found, _ = SOLVERS[solver](theta, phase, n_steps, optimizer, {})
    phase = replace(phase, rows={"source": rows.double()})
    wide = {name: value.double() for name, value in theta.items()}
    expected, _ = SOLVERS["reference"](wide, phase, n_steps, optimizer, {})
    for name, value in expected.items():
        assert ((value - wide[name]).abs() > optimizer.rate).double().mean() > 0.8  # they moved
        away = (found[name].double() - value).abs()
        assert (away < 1e-3 * optimizer.rate).double().mean() > 0.99


@pytest.mark.parametrize(
    ("n", "d", "kind", "name"),
    [(3, 21, "sgd", "span"), (3, 20, "sgd", "direct"), (3, 21, "adam", "direct")],
)
def test_the_solver_chosen_is_exact_and_fast(n, d, kind, name):
    phase, _ = quartic(doubles(0, x=(n, d))["x"])
    assert solver_of(phase, Optimizer(kind, 0.1)) == name


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("inner_steps", [1, 4])
@pytest.mark.parametrize("solver", ["auto", "reference"])
def test_meta_iteration(seed, inner_steps, solver):
    config = make_config(
        **PLACES, n_way=3, k_shot=2, inner_steps=inner_steps, meta_step=0.3, tau=0.4,
        align_rate=0.02, classify_rate=0.05, solver=solver,
    )  # fmt: skip
    theta = doubles(seed, source=(3, 4), target=(2, 4), phi=(4, 3))
    data = doubles(seed + 9, source=(6, 3), target=(6, 2), negatives=(6, 5, 2), shots=(6, 3))
    data["labels"] = np.array([0, 0, 1, 1, 2, 2])
    moved = tensors(theta)
    (losses,) = meta_iteration(moved, {}, [episode_of(data)], CROMA.stages, config)
    for name, value in naive.meta_iteration(theta, data, config).items():
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-8, atol=1e-11)
        assert not np.allclose(value, theta[name], atol=1e-4)  # all three learn
    assert set(losses) == {"align_loss", "classify_loss"}


@pytest.mark.parametrize("loss", get_args(LossName))
def test_the_configured_loss_is_reported_before_the_first_step(loss):
    config = make_config(**PLACES, n_way=2, loss=loss, margin=0.6, tau=0.3)
    theta = doubles(3, source=(3, 4), target=(2, 4), phi=(4, 2))
    data = doubles(4, source=(6, 3), target=(6, 2), negatives=(6, 2, 2), shots=(4, 3))
    data["labels"] = np.array([0, 0, 1, 1])
    rows = data["source"] @ theta["source"], data["target"] @ theta["target"]
    rows = [*rows, data["negatives"] @ theta["target"]]
    unit = [x / np.linalg.norm(x, axis=-1, keepdims=True) for x in rows]
    task = adapt(tensors(theta), episode_of(data), CROMA.stages, config)
    twin = naive.loss(loss, *unit, tau=0.3, margin=0.6, n_sets=3)
    assert task.losses["align_loss"] == pytest.approx(twin, rel=1e-9)


@pytest.mark.parametrize("solver", ["direct", "span"])
@pytest.mark.parametrize("into", ["none", "its own", "other"])
@pytest.mark.parametrize("order", ["row-major", "column-major"])
@pytest.mark.parametrize("d", [8, 7])
def test_whole_tiles_move_where_they_lie_and_others_in_padded_memory(solver, into, order, d):
    """SGD with momentum and decay of weights that are made of whole tiles, or not."""
    rng = np.random.default_rng(d)
    start = torch.from_numpy(rng.normal(size=(d, 2 * COLUMNS)))
    start = start if order == "row-major" else start.T.contiguous().T
    objective = Classification(torch.tensor([[0, 1, 2, 1, 0]] * 3), 0.5, "a")
    rows = {"a": torch.from_numpy(rng.normal(size=(5, d)))}
    phase = Phase({"a": Linear()}, rows, {}, objective)
    theta = {"a": start, "phi": torch.from_numpy(rng.normal(size=(2 * COLUMNS, 3)))}
    move = Optimizer("sgd", 0.1, 0.9, 0.1)
    expected, losses = SOLVERS["reference"](theta, phase, 3, move, {})
    other = torch.full((d, 2 * COLUMNS), math.nan, dtype=torch.float64)
    memory = {
        "none": {},
        "its own": {"a": start},
        "other": {"a": other},
    }
    if into == "its own" and order == "column-major":
        memory[into]["a"] = theta["a"] = start.contiguous()
    found, own = SOLVERS[solver](theta, phase, 3, move, memory[into])
    npt.assert_allclose(own, losses, rtol=1e-10)
    npt.assert_allclose(found["a"].numpy(), expected["a"].numpy(), rtol=1e-10, atol=1e-12)
    assert into == "none" or found["a"] is memory[into]["a"]
