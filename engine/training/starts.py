"""theta^meta before training: heads that keep what the encoders know, and a classifier phi = 0."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.streams import Stream, torch_generator
from xmg.engine.data.views import MetaTrain
from xmg.engine.model.closed_form import cca, evidence, procrustes
from xmg.engine.model.fronts import Fronts
from xmg.engine.model.heads import Theta
from xmg.engine.model.set_statistics import pair_statistics
from xmg.engine.model.whitening import Whitening
from xmg.engine.training.phases import head_of

_UNITS = 64  # of a discriminator


def aligned(train: MetaTrain, fronts: Fronts, config: Config) -> Theta:
    """e_s, e_t and phi, where config.start says.

    cca: canonical directions, each weighted by its `evidence`. procrustes: e_t is the identity,
    e_s the rotation of the sets' mean source rows to their mean target rows. identity: of both.
    random: entries of variance 1 / width. A modality of sequences starts at random, and the other
    one then as the identity. All but random matrices have the Frobenius norm of the identity, so
    that rates mean the same for them.
    """
    assert fronts.source
    rng = torch_generator(config.seed, Stream.HEADS)
    frames = fronts.source.frames or fronts.target.frames
    if config.start in {"random", "identity", "best"} or frames:
        source, target = (plain(front, config, rng) for front in (fronts.source, fronts.target))
    else:
        pair = pair_statistics(train, fronts.source, fronts.target)
        if config.start == "cca":
            found = cca(pair, config.shrinkage, config.width)
            source, target = (_wide(x * evidence(found.correlations), config) for x in found[:2])
        else:
            target = plain(fronts.target, config, rng)
            source = procrustes(pair.source.means, pair.target.means).float() @ target
    return {
        **head_of(config, "source").begin("source", source, rng),
        **head_of(config, "target").begin("target", target, rng),
        "phi": phi(config),
    }


def shared(fronts: Fronts, config: Config) -> Theta:
    """One encoder, of the source's width, and the map that brings target rows there: the identity,
    or random where config.start says so."""
    assert fronts.source
    rng = torch_generator(config.seed, Stream.HEADS)
    d_s, d_t = fronts.source.offset.numel(), fronts.target.offset.numel()
    random_start = config.start == "random"
    encoder = plain(fronts.source, config, rng)
    entry = torch.randn(d_t, d_s, generator=rng) / d_s**0.5 if random_start else torch.eye(d_t, d_s)
    return {"source": encoder, "target": entry, "phi": phi(config)}


def alone(front: Whitening, config: Config) -> Theta:
    """e_t and phi of a system without a source: the identity, or random."""
    rng = torch_generator(config.seed, Stream.HEADS)
    start = plain(front, config, rng)
    return {**head_of(config, "target").begin("target", start, rng), "phi": phi(config)}


def discriminator(config: Config) -> Theta:
    """D(z) = relu(z U) v of unit rows, random U, v = 0: at chance."""
    rng = torch_generator(config.seed, Stream.DISCRIMINATOR)
    u = torch.randn(config.width, _UNITS, generator=rng) * (2 / config.width) ** 0.5
    return {"discriminator": u, "discriminator.out": torch.zeros(_UNITS)}


def plain(front: Whitening, config: Config, rng: torch.Generator) -> Tensor:
    """Normal entries of variance 1 / width where config.start is "random", else the identity.

    Of a head's shape: sequences have one more column, which marks frames.
    """
    d = front.offset.numel() + front.frames
    if config.start != "random":
        return torch.eye(d, config.width)
    start: Tensor = torch.randn(d, config.width, generator=rng) / config.width**0.5
    return start


def phi(config: Config) -> Tensor:
    """A classifier that knows nothing."""
    return torch.zeros(config.width, config.n_way)


def _wide(x: Tensor, config: Config) -> Tensor:
    """Columns of zeros up to the width; of the norm of the identity."""
    whole = F.pad(x, (0, config.width - x.shape[1])).float()
    scaled: Tensor = whole * (min(whole.shape) ** 0.5 / whole.norm().clamp_min(1e-12))
    return scaled
