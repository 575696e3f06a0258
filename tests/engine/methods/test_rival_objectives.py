"""Confusion, reconstruction, cycle: by definition, by differences, by what they are for."""

import numpy as np
import numpy.testing as npt
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.linear_model import LogisticRegression

from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.inner import reference
from xmg.engine.losses.rivals import Confusion, Cycle, Reconstruction
from xmg.engine.methods.shared import SHARED_CONFUSION
from xmg.engine.training.meta_learn import begin, meta_iteration
from xmg.engine.training.phases import confuse, cycle, reconstruct


def config_of(system, **settings):
    return make_config(source="s.h5", target="t.h5", system=system, n_way=3, **settings)


def normal(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def episode_of(d_s=4, d_t=5):
    labels = torch.arange(3).repeat_interleave(2)
    return Episode(
        normal(6, d_s, seed=1), normal(18, d_t, seed=2), normal(6, d_s, seed=3), labels, 3,
        target_shots=normal(6, d_t, seed=4),
    )  # fmt: skip


def theta_of(system):
    shapes = {
        "source": (4, 6), "target": (5, 4 if system.startswith("shared") else 6), "phi": (6, 3),
        "discriminator": (6, 7), "discriminator.out": (7,), "decoder": (6, 5),
        "source.decoder": (6, 4), "target.decoder": (6, 5),
    }  # fmt: skip
    return {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def differences(theta, phase, name, h=1e-6):
    found = torch.empty_like(theta[name])
    for place in np.ndindex(tuple(found.shape)):
        ends = []
        for sign in (1, -1):
            moved = theta[name].clone()
            moved[place] += sign * h
            ends.append(float(reference.loss({**theta, name: moved}, phase, 0)))
        found[place] = (ends[0] - ends[1]) / (2 * h)
    return found


@pytest.mark.parametrize("system", ["shared-confusion", "align-classify-adversarial"])
def test_heads_climb_what_the_discriminator_descends(system):
    theta, phase = theta_of(system), confuse(episode_of(), config_of(system))
    found = reference.gradient(theta, phase, 0)
    assert set(found) == {"source", "target", "discriminator", "discriminator.out"}
    for name, gradient in found.items():
        slope = differences(theta, phase, name)
        sign = 1 if name.startswith("discriminator") else -1
        npt.assert_allclose(gradient, sign * slope, rtol=1e-5, atol=1e-8)
        assert slope.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("system", "make"), [("reconstruct", reconstruct), ("align-classify-cycle", cycle)]
)
def test_gradients_of_what_is_not_reversed(system, make):
    theta, phase = theta_of(system), make(episode_of(), config_of(system))
    for name, gradient in reference.gradient(theta, phase, 0).items():
        npt.assert_allclose(gradient, differences(theta, phase, name), rtol=1e-5, atol=1e-8)


def test_confusion_is_the_logistic_loss_of_either_modality():
    y = {"source": normal(5, 6, seed=1), "target": normal(9, 6, seed=2)}
    y |= {"discriminator": normal(6, 7, seed=3), "discriminator.out": normal(7, seed=4)}
    found = Confusion(4).loss(y, 0).item()

    def score(rows):
        z = (rows / rows.norm(dim=1, keepdim=True)).numpy()
        return np.maximum(z @ y["discriminator"].numpy(), 0) @ y["discriminator.out"].numpy()

    right = -np.log(1 / (1 + np.exp(-score(y["source"])))).mean()
    wrong = -np.log(1 - 1 / (1 + np.exp(-score(y["target"][:4])))).mean()  # not the negatives
    assert found == pytest.approx((right + wrong) / 2)
    y["discriminator.out"] = torch.zeros(7).double()
    assert Confusion(4).loss(y, 0).item() == pytest.approx(np.log(2))  # at chance


def test_reconstruction_is_the_share_of_variance_that_is_missed():
    x = normal(30, 5)
    x -= x.mean(0)
    w = normal(5, 3, seed=1)
    z = x @ w
    decoder = torch.linalg.lstsq(z, x).solution
    residual = (z @ decoder - x).square().sum().item()
    found = Reconstruction(x).loss({"target": z, "decoder": decoder}, 0).item()
    assert found == pytest.approx(residual / x.square().sum().item()) and 0 < found < 1
    assert Reconstruction(x).loss({"target": z, "decoder": 0 * decoder}, 0).item() == 1


def test_cycle_is_the_mean_of_four_errors():
    s, t = normal(6, 4, seed=1), normal(6, 5, seed=2)
    z_s, z_t = normal(6, 3, seed=3), normal(11, 3, seed=4)  # with negatives, which are not read
    a, b = normal(3, 4, seed=5), normal(3, 5, seed=6)
    y = {"source": z_s, "target": z_t, "source.decoder": a, "target.decoder": b}
    errors = [
        np.linalg.norm(z.numpy() @ v.numpy() - x.numpy()) ** 2 / np.linalg.norm(x.numpy()) ** 2
        for z in (z_s, z_t[:6])
        for v, x in ((a, s), (b, t))
    ]
    assert Cycle(s, t).loss(y, 0).item() == pytest.approx(np.mean(errors))


def told_apart(theta, source, target):
    """How often a fresh linear discriminator tells e_s(x_s) from e_t(x_t), on new rows."""
    z = [
        F.normalize(source @ theta["source"], dim=1),
        F.normalize(target @ theta["target"] @ theta["source"], dim=1),
    ]
    x, y = torch.cat(z).numpy(), np.repeat([0, 1], len(source))
    return LogisticRegression(C=10).fit(x[::2], y[::2]).score(x[1::2], y[1::2])


def test_confusion_makes_modalities_alike():
    """Modalities that lie apart by their means; only the heads and the discriminator learn."""
    config = config_of("shared-confusion", align_rate=0.01, meta_step=1.0, inner_steps=5)
    theta = {
        "source": torch.eye(4, 6), "target": torch.eye(5, 4),
        "discriminator": normal(6, 16).float() / 2, "discriminator.out": torch.zeros(16),
    }  # fmt: skip
    source = (normal(600, 4, seed=1) + torch.tensor([1.0, 0, 0, 0])).float()
    target = (normal(600, 5, seed=2) + torch.tensor([0, 1.0, 0, 0, 0])).float()
    before = told_apart(theta, source, target)
    stages = [stage for stage in SHARED_CONFUSION.stages if stage.name == "confuse"]
    state, rng, losses = begin(theta, stages, config), np.random.default_rng(0), []
    for i in range(100):
        a, b = rng.choice(600, (2, 64))
        episode = Episode(source[a], target[b])
        losses += meta_iteration(theta, state, [episode], stages, config, i)
    after = told_apart(theta, source, target)
    assert before > 0.75 and after < before - 0.1
    assert all(np.isfinite(loss["confuse_loss"]) for loss in losses)
