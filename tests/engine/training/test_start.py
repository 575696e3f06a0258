"""Where CROMA's heads start: at the rotation that fits the sets' means best."""

import numpy as np
import numpy.testing as npt
import synthetic
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.preprocessing import normalize

from xmg.engine.data.pool import pool_of
from xmg.engine.data.streams import Stream, key_of
from xmg.engine.data.views import MetaTrain, TargetOnly
from xmg.engine.methods.unimodal import start_decoder
from xmg.engine.model.fronts import fit_fronts
from xmg.engine.training.starts import aligned, discriminator


def means(front, file, rows, offsets):
    unit = normalize(front(torch.from_numpy(file.features[rows])).double().numpy())
    return np.stack([part.mean(0) for part in np.split(unit, offsets[1:-1])])


def test_start(tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=9, latent=6, dim=6)
    sets = synthetic.sets_of(source, target, source.classes)
    train = MetaTrain(pool_of(source, source.classes), target, sets)
    config = synthetic.config_of(source, target, width=8, start="procrustes")
    fronts = fit_fronts(train, 6)[0]
    theta = aligned(train, fronts, config)
    a = means(fronts.source, source, sets.source_rows, sets.source_offsets)
    b = means(fronts.target, target, sets.target_rows, sets.target_offsets)
    npt.assert_allclose(theta["source"][:, :6], orthogonal_procrustes(a, b)[0], atol=1e-4)
    npt.assert_array_equal(theta["source"][:, 6:], 0)
    npt.assert_array_equal(theta["target"], np.eye(6, 8))
    npt.assert_array_equal(theta["phi"], np.zeros((8, config.n_way)))


def test_random_starts_have_nothing_in_common(tmp_path):
    source, target = synthetic.write_pair(tmp_path, n_classes=12, per_class=16, latent=6, dim=64)
    train = MetaTrain(
        pool_of(source, source.classes), target, synthetic.sets_of(source, target, source.classes)
    )
    config = synthetic.config_of(source, target, width=64, start="random")
    fronts = fit_fronts(train, 64)[0]
    theta = start_decoder(TargetOnly(pool_of(target, target.classes)), fronts, config)
    drawn = [theta["target"], theta["decoder"], discriminator(config)["discriminator"]]
    assert (
        torch.corrcoef(torch.stack([x.flatten() for x in drawn])) - torch.eye(3)
    ).abs().max() < 0.1
    assert len({key_of(0, stream) for stream in Stream}) == len(Stream)
