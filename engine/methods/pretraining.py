"""Pre-training: the pretrained encoder and new layers, fine-tuned on the k labels alone.

The first row of the tables of the CROMA paper (Liang, Wu, Ziyin, Morency, Salakhutdinov,
arXiv:2012.02813). The encoder is frozen here as everywhere, and a task moves W and phi on

    L(W, phi) = -1/n sum_i log softmax(z_i . phi / tau)[y_i],   z_i = unit(unit(x_i) R W),

R random and fixed, W from the identity. It reads no row of meta-training.
"""

import torch
import torch.nn.functional as F  # noqa: N812

from xmg.engine.config import Config
from xmg.engine.data.fetch import vectors
from xmg.engine.data.streams import Stream, torch_generator
from xmg.engine.data.views import Nothing
from xmg.engine.learner import Learner
from xmg.engine.methods.system import ClosedForm, nothing
from xmg.engine.model.heads import Linear


def pretraining(view: Nothing, config: Config) -> list[Learner]:
    """A random projection of unit features to `width`, a linear layer, phi = 0.

    The layer starts as the identity and is fine-tuned with phi.
    """
    rng = torch_generator(config.seed, Stream.PRETRAINING)
    projection = torch.randn(view.dim, config.width, generator=rng) / config.width**0.5
    theta = {"target": torch.eye(config.width), "phi": torch.zeros(config.width, config.n_way)}
    pool = vectors(view.frames)
    return [Learner(lambda x: F.normalize(pool(x), dim=-1) @ projection, Linear(), theta)]


PRETRAINING = ClosedForm("pre-training", nothing, pretraining)
