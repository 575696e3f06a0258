"""Nearest class mean on frozen target features: no source, nothing meta-trained.

    argmax_c unit(g(x)) . m_c,   m_c = unit(mean of unit(g(x_i)) over the k rows of class c)

(Mensink, Verbeek, Perronnin, Csurka, IEEE TPAMI 2013, here by the cosine and without a learned
metric). Each function below says what g is, and what it was fitted on: nothing, unlabelled target
rows, or target rows and the sets that pairs put them in.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from xmg.engine.config import Config
from xmg.engine.data.fetch import vectors
from xmg.engine.data.views import Nothing, TargetOnly
from xmg.engine.learner import Learner
from xmg.engine.methods.system import ClosedForm, nothing, target_sets, unlabelled
from xmg.engine.model.closed_form import inverse_root, shrunk
from xmg.engine.model.set_statistics import set_statistics
from xmg.engine.model.whitening import Whitening, fit_whitening, fit_whitenings

Front = Callable[[Tensor], Tensor]

_WIDTHS = (None, 256, 64)  # leading dimensions; None is all of them
_SHRINKAGES = (0.03, 0.1, 0.3)  # of the covariance inside sets


def raw(view: Nothing, _: Config) -> list[Learner]:
    """Cosine to the class means of the encoder's features; of sequences, of their mean frame."""
    return [Learner(vectors(view.frames))]


def whitened(view: TargetOnly, _: Config) -> list[Learner]:
    """The same after square root and PCA-whitening (Hu, Gripon, Pateux, ICANN 2021).

    Fitted on the target rows of the pairs, of which it reads no label and no set.
    """
    file, rows = view.target.file, view.target.rows
    whole = fit_whitenings(file, rows, file.dim)
    return [Learner(front.leading(width).pooled) for width in _WIDTHS for front in whole]


def within(view: TargetOnly, _: Config) -> list[Learner]:
    """The same after whitening by the mean covariance inside the target sets of the pairs.

    Within-class covariance normalization (Hatch, Kajarekar, Stolcke, Interspeech 2006):
    g(x) = unit(f(x)) C_w^-1/2, f the whitening above, C_w shrunk. It reads no source row, but the
    sets that pairs form: concepts of weak ones, of strong ones by default the source's labels.
    """
    pool = view.target
    shares = torch.from_numpy(pool.sizes / pool.sizes.sum())
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), torch.from_numpy(pool.sizes).cumsum(0)])
    whole = fit_whitening(pool.file, pool.rows, pool.file.dim)
    found = []
    for front in (whole.leading(width) for width in _WIDTHS):
        inside = set_statistics(pool.file, front, pool.rows, offsets.numpy(), shares).within
        for a in _SHRINKAGES:
            found.append(Learner(_through(front, inverse_root(shrunk(inside, a)).float())))
    return found


def _through(front: Whitening, matrix: Tensor) -> Front:
    return lambda x: F.normalize(front.pooled(x), dim=-1) @ matrix


RAW = ClosedForm("class mean, raw", nothing, raw)
WHITENED = ClosedForm("class mean, whitened", unlabelled, whitened)
WITHIN = ClosedForm("class mean, whitened within pairs' sets", target_sets, within)
