"""Steps of LSTM heads: the batched solver against the reference, over shapes and lengths."""

import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner import batched, reference
from xmg.engine.training.phases import align, classify, head_of, optimizer_of

N_SETS, N_WAY, K_SHOT, N_STEPS, N_TASKS = 3, 3, 2, 4, 2


def sequences(rng, n, longest, d):
    """(n, longest, d + 1) frames with their marks; padding holds zeros."""
    lengths = rng.integers(1, longest + 1, n)
    mark = (np.arange(longest) < lengths[:, None])[..., None].astype(float)
    return torch.from_numpy(np.concatenate([rng.normal(size=(n, longest, d)) * mark, mark], -1))


@st.composite
def tasks(draw, kind):
    """A config, theta in general position, and episodes of one shape."""
    config = make_config(
        source="s.h5", target="t.h5", head="lstm", n_way=N_WAY, k_shot=K_SHOT, optimizer=kind,
        hidden=draw(st.integers(1, 5)), width=draw(st.integers(2, 6)), n_negatives=2,
        source_layers=draw(st.integers(1, 2)), target_layers=draw(st.integers(1, 2)),
        source_bidirectional=draw(st.booleans()), target_bidirectional=draw(st.booleans()),
        negatives=draw(st.sampled_from(["pair", "step", "task"])), inner_steps=N_STEPS, tau=0.5,
        batch=draw(st.sampled_from([None, N_SETS])), momentum=0.5 if kind == "sgd" else 0.0,
        align_rate=0.02, classify_rate=0.02,
    )  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = st.tuples(st.integers(1, 7), st.integers(1, 4))  # the longest, and columns
    source, target, n = draw(frames), draw(frames), 2 * N_SETS
    n_negatives = {"pair": 2 * n, "step": 2 * N_STEPS, "task": 2}[config.negatives]
    labels = torch.arange(N_WAY).repeat_interleave(K_SHOT)
    episodes = [
        Episode(
            sequences(rng, n, *source),
            sequences(rng, n + n_negatives, *target),
            sequences(rng, N_WAY * K_SHOT, *source),
            labels,
            N_SETS,
        )
        for _ in range(N_TASKS)
    ]
    theta = {"phi": torch.zeros(config.width, N_WAY)}
    for name, (_, d) in (("source", source), ("target", target)):
        start = torch.zeros(d + 1, config.width)
        theta |= head_of(config, name).begin(name, start, torch.Generator())
    theta = {k: torch.from_numpy(rng.normal(size=tuple(v.shape))) for k, v in theta.items()}
    return config, theta, episodes


def side_by_side(episodes):
    rows = ((getattr(e, name) for e in episodes) for name in ("source", "target", "shots"))
    return Episode(*map(torch.stack, map(list, rows)), episodes[0].labels, N_SETS, stacked=True)


def check(found, expected):
    npt.assert_allclose(found.numpy(), expected.numpy(), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("stage", [align, classify])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
@settings(max_examples=15)
@given(st.data())
def test_the_batched_solver_is_the_reference_step_by_step(stage, kind, data):
    """One task alone, and tasks side by side, of which none touches another."""
    config, theta, episodes = data.draw(tasks(kind))
    optimizer = optimizer_of(config, 0.02)
    together = stage(side_by_side(episodes), config)
    stacked = {name: value.expand(N_TASKS, *value.shape) for name, value in theta.items()}
    for n in range(1, N_STEPS + 1):
        ends, losses = batched.descend_all(stacked, together, n, optimizer)
        for e, phase in enumerate(stage(episode, config) for episode in episodes):
            expected, before = reference.descend(theta, phase, n, optimizer, {})
            alone, found = batched.descend(theta, phase, n, optimizer, {})
            check(torch.tensor([found, losses[:, e].tolist()]), torch.tensor([before, before]))
            assert alone.keys() == expected.keys()
            for name, value in expected.items():
                check(alone[name], value)
            learns = reference.learned(phase)
            assert set(learns) == ends.keys()
            for name in learns:
                check(ends[name][e], expected[name])
            moved = [name for name in learns if not torch.equal(expected[name], theta[name])]
            assert {f"{name}.out" for name in phase.heads} <= {*moved}  # one frame moves no state
