"""Meta-updates against float64 twins."""

import math
from threading import Thread
from time import sleep

import naive
import numpy as np
import numpy.testing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner.meta import MeanInTurn, Outer, clone, moved, toward, update
from xmg.engine.methods.croma import CROMA
from xmg.engine.training.meta_learn import meta_iteration


def doubles(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def reptile(theta, ends, state, outer, numbers):
    toward(theta, mean([moved(theta, end) for end in ends]), state, outer, numbers)


def mean(tasks):
    total = MeanInTurn(tasks[0], len(tasks))
    for place, task in enumerate(tasks):
        total.add(place, task)
    return total.mean()


def tensors(arrays):
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


@given(st.floats(1e-3, 1), st.integers(0, 2**32))
def test_reptile(epsilon, seed):
    theta, task = doubles(seed, a=(3, 2), b=(4,)), doubles(seed + 1, a=(3, 2), b=(4,))
    moved, outer = tensors(theta), Outer("sgd", epsilon)
    reptile(moved, [tensors(task)], {}, outer, outer.numbers(0, 1))
    for name, value in naive.reptile(theta, task, epsilon).items():
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("tensor", [False, True])
def test_meta_optimizers(kind, schedule, tensor):
    """By numbers, and by a tensor of them as a CUDA graph has it."""
    n, theta = 4, doubles(0, a=(3, 2), b=(2,))
    gradients = [doubles(i + 1, a=(3, 2), b=(2,)) for i in range(n)]
    factor = {
        "constant": lambda i: 1,
        "linear": lambda i: 1 - i / n,
        "cosine": lambda i: (1 + math.cos(math.pi * i / n)) / 2,
    }[schedule]
    outer, moved = Outer(kind, 0.3, schedule, 0.7), tensors(theta)
    state = outer.begin(moved)
    for i, g in enumerate(gradients):
        numbers = outer.numbers(i, n)
        numbers = torch.tensor(numbers, dtype=torch.float64) if tensor else numbers
        update(moved, tensors(g), state, outer, numbers)
    expected = naive.outer(kind, theta, gradients, [0.3 * factor(i) for i in range(n)], 0.7)
    for name, value in expected.items():
        npt.assert_allclose(moved[name].numpy(), value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam"])
def test_reptile_descends_the_way_to_the_mean_of_tasks(kind):
    theta, ends = doubles(0, a=(3,)), [doubles(i, a=(3,)) for i in (1, 2, 3)]
    outer, one, two = Outer(kind, 0.3), tensors(theta), tensors(theta)
    away = {"a": theta["a"] - np.mean([end["a"] for end in ends], 0)}
    update(one, tensors(away), outer.begin(one), outer, outer.numbers(0, 9))
    reptile(two, [tensors(end) for end in ends], outer.begin(two), outer, outer.numbers(0, 9))
    npt.assert_allclose(one["a"].numpy(), two["a"].numpy(), rtol=1e-12)


def test_what_did_not_learn_does_not_move():
    theta = tensors(doubles(0, a=(3,), frozen=(3,)))
    outer, before = Outer("adam", 0.3), clone(theta)
    ends = [{**theta, "a": theta["a"] + 1}]
    reptile(theta, ends, outer.begin(theta), outer, outer.numbers(0, 1))
    assert torch.equal(theta["frozen"], before["frozen"])
    assert not torch.equal(theta["a"], before["a"])


def test_the_mean_is_of_all_tasks_and_changes_none():
    tasks = [tensors(doubles(i, a=(2,))) for i in range(3)]
    before = [clone(task) for task in tasks]
    expected = np.mean([task["a"].numpy() for task in tasks], 0)
    npt.assert_allclose(mean(tasks)["a"].numpy(), expected, rtol=1e-12)
    for task, kept in zip(tasks, before, strict=True):
        assert torch.equal(task["a"], kept["a"])


def test_the_mean_is_summed_in_the_order_of_tasks_whoever_ends_first():
    """Numbers whose sum depends on the order, ended backwards by as many threads as tasks."""
    large = [1e8, 1.0, 1.0, 1.0, -1e8, 1.0, 1.0, 1.0]
    tasks = [tensors({"a": np.array([x], np.float32)}) for x in large]
    total = MeanInTurn(tasks[0], len(tasks))
    threads = [Thread(target=total.add, args=(i, tasks[i])) for i in reversed(range(len(tasks)))]
    for thread in threads:
        thread.start()
        sleep(0.02)  # the first ones wait
    for thread in threads:
        thread.join()
    even = np.float32(1e8) + np.float32(1) - np.float32(1e8) + np.float32(1)
    assert even == 1 and total.mean()["a"].item() == (even + 4) / 8


def test_a_failed_task_keeps_none_waiting():
    total = MeanInTurn(tensors({"a": np.zeros(2)}), 4)
    waiting = Thread(target=total.add, args=(3, tensors({"a": np.ones(2)})), daemon=True)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    total.fail()
    waiting.join(10)
    assert not waiting.is_alive()


def test_an_interrupt_between_tasks_keeps_none_waiting():
    """Task 2 waits for task 0, whose thread was interrupted before it began."""
    config = make_config(source="s.h5", target="t.h5", n_way=2, meta_batch=3, inner_steps=1)
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, 3, generator=rng) for n in (2, 4, 4)]
    episode = Episode(*rows, torch.tensor([0, 0, 1, 1]), 2)
    theta = {"source": torch.randn(3, 2), "target": torch.randn(3, 2), "phi": torch.zeros(2, 2)}
    meta_iteration(theta, {}, [episode] * 3, CROMA.stages, config)  # compiles
    others = []

    def each(run, places):
        others.append(Thread(target=run, args=(2,), daemon=True))
        others[0].start()
        others[0].join(0.5)
        assert others[0].is_alive()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meta_iteration(theta, {}, [episode] * 3, CROMA.stages, config, each=each)
    others[0].join(10)
    assert not others[0].is_alive()


def test_a_clone_is_apart():
    theta = tensors(doubles(0, a=(2,)))
    task = clone(theta)
    task["a"] += 1
    assert not torch.equal(theta["a"], task["a"])
