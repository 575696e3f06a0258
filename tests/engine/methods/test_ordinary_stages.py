"""Ordinary stages are torch.optim.Adam on theta itself, from task to task."""

import pytest
import synthetic
import torch
import torch.nn.functional as F  # noqa: N812
from torch.testing import assert_close

from xmg.engine.config import make_config
from xmg.engine.data.inputs import Episode
from xmg.engine.methods.align_classify import CLASSIFY_ALL
from xmg.engine.methods.align_meta_classify import ALIGN_META_CLASSIFY, ORDINARY_ALIGN
from xmg.engine.methods.croma import CLASSIFY
from xmg.engine.run import read_metrics
from xmg.engine.train import meta_train
from xmg.engine.training.meta_learn import adapt, begin, meta_iteration

N_NEGATIVES = 2


def config_of(**settings):
    return make_config(
        source="s.h5", target="t.h5", n_way=3, inner_steps=3, n_negatives=N_NEGATIVES,
        align_rate=0.02, classify_rate=0.03, **settings,
    )  # fmt: skip


def episode_of(seed):
    rng = torch.Generator().manual_seed(seed)

    def rows(n, d):
        return torch.randn(n, d, generator=rng, dtype=torch.float64)

    labels = torch.arange(3).repeat_interleave(2)
    classes = torch.randperm(5, generator=rng)[:3].repeat_interleave(2)
    return Episode(rows(6, 4), rows(6 + 6 * N_NEGATIVES, 5), rows(6, 4), labels, 3, classes=classes)


def theta_of():
    rng = torch.Generator().manual_seed(9)
    shapes = {"source": (4, 6), "target": (5, 6), "phi": (6, 3), "classes": (6, 5)}
    return {n: torch.randn(s, generator=rng, dtype=torch.float64) for n, s in shapes.items()}


def align_loss(theta, episode, tau):
    z_s = F.normalize(episode.source @ theta["source"], dim=1)
    z_t = F.normalize(episode.target @ theta["target"], dim=1)
    negatives = z_t[6:].reshape(6, N_NEGATIVES, -1)
    own = (z_s * z_t[:6]).sum(1) / tau
    others = (z_s[:, None] * negatives).sum(2) / tau
    return (torch.logsumexp(torch.cat([own[:, None], others], 1), 1) - own).mean()


def classify_loss(theta, episode, tau):
    logits = F.normalize(episode.shots @ theta["source"], dim=1) @ theta["classes"] / tau
    return F.cross_entropy(logits, episode.classes)


LOSSES = {"align": (align_loss, 0.02), "classify": (classify_loss, 0.03)}


def plain(stages, config, episodes, shared):
    """theta after each task: one Adam for all stages, or one for each."""
    theta = {name: value.requires_grad_() for name, value in theta_of().items()}
    one = torch.optim.Adam(theta.values())
    own = {s.name: one if shared else torch.optim.Adam(theta.values()) for s in stages}
    found = []
    for episode in episodes:
        for stage in stages:
            loss, rate = LOSSES[stage.name]
            for t in range(config.inner_steps):
                done = (len(found) * config.inner_steps + t) / (6 * config.inner_steps)
                linear = config.meta_schedule == "linear"
                own[stage.name].param_groups[0]["lr"] = rate * (1 - done) if linear else rate
                own[stage.name].zero_grad()
                loss(theta, episode, config.tau).backward()
                own[stage.name].step()
        found.append({name: value.detach().clone() for name, value in theta.items()})
    return found


def ours(stages, config, episodes, meta_batch=1):
    theta = theta_of()
    state, found = begin(theta, stages, config), []
    for i in range(0, len(episodes), meta_batch):
        meta_iteration(theta, state, episodes[i : i + meta_batch], stages, config, i // meta_batch)
        found.append({name: value.clone() for name, value in theta.items()})
    return found


EPISODES = [episode_of(seed) for seed in range(6)]


@pytest.mark.parametrize("stage", [ORDINARY_ALIGN, CLASSIFY_ALL])
@pytest.mark.parametrize("meta_batch", [1, 3])
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_one_stage_is_one_adam(stage, meta_batch, schedule):
    config = config_of(
        meta_batch=meta_batch, meta_schedule=schedule, iterations=len(EPISODES) // meta_batch
    )
    expected = plain([stage], config, EPISODES, shared=True)[meta_batch - 1 :: meta_batch]
    for one, two in zip(ours([stage], config, EPISODES, meta_batch), expected, strict=True):
        assert_close(one, two, rtol=1e-10, atol=1e-12)
    assert not torch.equal(expected[-1]["source"], theta_of()["source"])


def test_two_stages_are_one_adam_or_one_each():
    stages, config = [ORDINARY_ALIGN, CLASSIFY_ALL], config_of()
    found = ours(stages, config, EPISODES[:1])[0]
    gaps = [
        (found["source"] - plain(stages, config, EPISODES[:1], shared)[0]["source"]).abs().max()
        for shared in (True, False)
    ]
    assert min(gaps) < 1e-9


def test_ordinary_then_meta():
    """Alignment moves theta itself; then the classifier's task starts there and Reptile follows."""
    config = config_of(meta_step=0.3)
    theta, episode = theta_of(), EPISODES[0]
    stages = ALIGN_META_CLASSIFY.stages
    moved = {n: v.clone() for n, v in theta.items()}
    losses = meta_iteration(moved, begin(theta, stages, config), [episode], stages, config)[0]
    aligned = plain([ORDINARY_ALIGN], config, [episode], shared=True)[0]
    end = adapt(aligned, episode, [CLASSIFY], config).theta
    for name, value in aligned.items():
        assert_close(moved[name], value + 0.3 * (end[name] - value), rtol=1e-10, atol=1e-12)
    assert losses["align_loss"] == pytest.approx(float(align_loss(theta, episode, config.tau)))
    assert set(losses) == {"align_loss", "classify_loss"}


def hard(files, run, name, n_candidates):
    config = synthetic.config_of(
        *files, system=name, hard=True, n_candidates=n_candidates, n_negatives=4, n_sets=2,
        iterations=1, width=8, n_validation=4, start="identity",
    )  # fmt: skip
    meta_train(config, run)
    return read_metrics(run)[-1]["align_loss"]


@pytest.mark.parametrize("name", ["align-meta-classify", "align-classify"])
@pytest.mark.parametrize("n_candidates", [20, 21])
def test_an_ordinary_stage_takes_hard_negatives_as_croma_does(tmp_path, name, n_candidates):
    files = synthetic.write_pair(tmp_path, n_classes=10, per_class=12, latent=4, dim=6)
    expected = hard(files, tmp_path / "croma", "croma", n_candidates)
    assert hard(files, tmp_path / name, name, n_candidates) == pytest.approx(expected, rel=1e-5)
