import numpy as np
import pytest
import soundfile
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from xmg.cache import XmgError
from xmg.extract.encoders import hf_audio, load_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny classifier, as the published model is one, with its feature extractor."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("ast")
    config = ASTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_length=128, num_mel_bins=32,
    )  # fmt: skip
    ASTForAudioClassification(config).save_pretrained(path)
    ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clips")
    for name, n in (("short", 40), ("one", 16_000), ("long", 60_000)):
        soundfile.write(path / f"{name}.wav", rng.normal(0, 0.1, n), 16_000, subtype="FLOAT")
    return [path / f"{name}.wav" for name in ("short", "one", "long")]


def test_agrees_with_transformers(folder, clips):
    encoder = hf_audio.load_ast("ast", weights=folder, device="cpu")
    model = ASTModel.from_pretrained(folder).eval()
    extractor = ASTFeatureExtractor.from_pretrained(folder)
    features = encoder.encode([encoder.decode(clip) for clip in clips])
    assert features.shape == (3, encoder.dim) == (3, 32)
    for clip, row in zip(clips[1:], features[1:], strict=True):
        samples, _ = soundfile.read(clip, dtype="float32")
        inputs = extractor(samples, sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model(**inputs).pooler_output[0]
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)
    assert np.isfinite(features[0]).all()


def test_bfloat16_stays_close(folder, clips, monkeypatch):
    exact = hf_audio.load_ast("ast", weights=folder, device="cpu")
    monkeypatch.setattr("xmg.extract.encoders.device.pick_compute", lambda device: "bfloat16")
    fast = hf_audio.load_ast("ast", weights=folder, device="cpu")
    decoded = [exact.decode(clip) for clip in clips]
    a, b = exact.encode(decoded), fast.encode(decoded)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.999
    assert a.dtype == b.dtype == np.float32
    assert exact.preprocessing["compute"] == "float32"
    assert fast.preprocessing["compute"] == "bfloat16"


def test_by_name_of_a_folder(folder):
    encoder = load_encoder(f"hf:{folder}", device="cpu")
    assert encoder.name == folder.name
    assert encoder.preprocessing["max_length"] == 128


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(XmgError, match="cannot load the Hugging Face model"):
        load_encoder(f"hf:{tmp_path}")
    with pytest.raises(XmgError, match="no folder at"):
        load_encoder("ast", weights=tmp_path / "absent")
