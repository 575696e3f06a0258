"""Pre-training: the pretrained encoder and new layers, fine-tuned on the k labels alone."""

import torch
import torch.nn.functional as F  # noqa: N812

from xmg.engine.config import Config
from xmg.engine.data.fetch import vectors
from xmg.engine.data.streams import Stream, key_of
from xmg.engine.data.views import Nothing
from xmg.engine.learner import Learner
from xmg.engine.methods.system import ClosedForm, nothing
from xmg.engine.model.heads import Linear


def pretraining(view: Nothing, config: Config) -> list[Learner]:
    """A random projection of unit features to `width`, a linear layer, phi = 0.

    The layer starts as the identity and is fine-tuned with phi. The first row of the CROMA
    paper's tables (arXiv:2012.02813). Touches no meta-training data.
    """
    generator = torch.Generator().manual_seed(int(key_of(config.seed, Stream.PRETRAINING)) >> 1)
    projection = torch.randn(view.dim, config.width, generator=generator) / config.width**0.5
    theta = {"target": torch.eye(config.width), "phi": torch.zeros(config.width, config.n_way)}
    pool = vectors(view.frames)
    return [Learner(lambda x: F.normalize(pool(x), dim=-1) @ projection, Linear(), theta)]


PRETRAINING = ClosedForm("pre-training", nothing, pretraining)
