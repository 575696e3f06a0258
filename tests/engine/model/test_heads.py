"""What heads start as, and that tasks may be stacked."""

import pytest
import torch
from torch.testing import assert_close

from xmg.engine.model.heads import MLP, Linear, Residual, project

HEADS = [Linear(), Linear(bias=True), MLP(8), MLP(11, bias=False), Residual(2)]


def begun(head, d=5, width=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(d, width, generator=rng, dtype=torch.float64)
    return start, head.begin("source", start, rng)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_starts_as_the_linear_map(head):
    start, theta = begun(head)
    x = torch.randn(7, 5, dtype=torch.float64)
    assert_close(project(head, theta, "source", x), x @ start)
    assert set(head.learns("source")) <= theta.keys() and head.learns("source")[0] == "source"


def test_a_narrow_mlp_keeps_the_leading_columns():
    start, theta = begun(MLP(5))
    x = torch.randn(7, 5, dtype=torch.float64)
    expected = (x @ start) * torch.tensor([1.0, 1, 0, 0])
    assert_close(project(MLP(5), theta, "source", x), expected)


@pytest.mark.parametrize("head", HEADS)
def test_every_learned_parameter_matters(head):
    _, theta = begun(head)
    theta = {n: torch.randn(v.shape, dtype=v.dtype).requires_grad_() for n, v in theta.items()}
    y = project(head, theta, "source", torch.randn(7, 5, dtype=torch.float64))
    y.square().sum().backward()
    for name in head.learns("source"):
        assert theta[name].grad.abs().sum() > 0


@pytest.mark.parametrize("head", HEADS)
def test_stacked_tasks_are_projected_as_each_alone(head):
    tasks = [begun(head, seed=seed)[1] for seed in range(3)]
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    stacked = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}
    alone = [project(head, task, "source", x[i]) for i, task in enumerate(tasks)]
    assert_close(project(head, stacked, "source", x), torch.stack(alone))
