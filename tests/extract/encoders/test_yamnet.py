import json

import numpy as np
import pytest
import soundfile
import torch

from xmg.cache import XmgError
from xmg.extract.encoders import load_encoder, yamnet


@pytest.fixture(scope="module")
def encoder(real):
    return load_encoder("yamnet", weights=real("weights/yamnet.safetensors"), device="cpu")


def test_reference(encoder, real):
    reference = json.loads(real("weights/yamnet_reference.json").read_text())
    clips = [encoder.decode(real("esc50") / "audio" / row["file"]) for row in reference]
    frames = [yamnet.log_mel(torch.from_numpy(clip)) for clip in clips]
    assert [(len(f) - 96) // 48 + 1 for f in frames] == [row["patches"] for row in reference]
    features = encoder.encode(clips)
    for row, vector in zip(reference, features, strict=True):
        assert vector.shape == (1024,)
        np.testing.assert_allclose(vector[:8], row["embedding_mean_first8"], atol=1e-3)


def test_reference_scores(encoder, real):
    for row in json.loads(real("weights/yamnet_reference.json").read_text()):
        frames = yamnet.log_mel(
            torch.from_numpy(encoder.decode(real("esc50") / "audio" / row["file"]))
        )
        patches = torch.stack([frames[i : i + 96] for i in range(0, len(frames) - 95, 48)])
        with torch.inference_mode():
            scores = encoder.model.classifier(encoder.model(patches[:, None])).sigmoid().mean(0)
        expected = [score for _, score in row["top3"]]
        np.testing.assert_allclose(scores.topk(3).values, expected, atol=1e-3)


def test_a_short_clip_is_padded_to_one_patch(encoder):
    clip = np.random.default_rng(0).normal(size=500).astype(np.float32)
    padded = np.zeros(95 * 160 + 400, np.float32)
    padded[:500] = clip
    np.testing.assert_array_equal(encoder.encode([clip])[0], encoder.encode([padded])[0])
    assert yamnet.log_mel(torch.from_numpy(clip)).shape == (96, 64)


def test_a_clip_does_not_depend_on_its_batch(encoder):
    rng = np.random.default_rng(0)
    clips = [rng.normal(size=n).astype(np.float32) for n in (16_000, 500, 1_000_000)]
    together = encoder.encode(clips)
    alone = [encoder.encode([clip])[0] for clip in clips]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_mel_bank_by_hand():
    bank = yamnet.mel_bank()
    assert bank.shape == (257, 64)
    assert not bank[:4].any()  # 125 Hz is bin 4
    assert not bank[240:].any()  # 7500 Hz is bin 240
    top = 1127 * np.log(1 + np.array([125, 1000, 7500]) / 700)
    place = (top[1] - top[0]) / (top[2] - top[0]) * 65  # of 1 kHz, bin 32, among 66 edges
    lower = int(place)
    assert bank[32, lower - 1] == pytest.approx(1 - (place - lower), abs=1e-5)
    assert bank[32, lower] == pytest.approx(place - lower, abs=1e-5)
    assert np.count_nonzero(bank[32]) == 2


def test_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XMG_WEIGHTS", raising=False)
    with pytest.raises(XmgError, match=r"no weights for yamnet: looked at .*yamnet.safetensors"):
        load_encoder("yamnet")


def test_silence_is_finite(encoder, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert np.isfinite(encoder.encode([encoder.decode(tmp_path / "a.wav")])[0]).all()
