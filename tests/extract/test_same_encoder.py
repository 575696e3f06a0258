"""The encoder that made a file is found again, or what differs is told."""

from dataclasses import replace

import numpy as np
import pytest

from xmg.cache import FeatureSpec, XmgError
from xmg.extract.encoders import load_encoder
from xmg.extract.same_encoder import same_encoder


def spec_of(encoder):
    return FeatureSpec(
        dataset="d",
        encoder=encoder.name,
        weights_sha256=encoder.weights_sha256,
        preprocessing=dict(encoder.preprocessing),
        versions={},
    )


@pytest.mark.parametrize("name", ["char-ngrams", "logmel40", "logmel40-stats"])
def test_encoders_by_name(name):
    pytest.importorskip("soundfile")
    found = same_encoder(spec_of(load_encoder(name)))
    assert found.name == name


def test_weights_are_compared(real):
    pytest.importorskip("soundfile")
    path = real("weights/yamnet.safetensors")
    spec = spec_of(load_encoder("yamnet", weights=path))
    assert same_encoder(spec, weights=path).dim == 1024
    with pytest.raises(XmgError, match=r"not the encoder that made the features: weights is .*"):
        same_encoder(replace(spec, weights_sha256="0" * 64), weights=path)
    faster = {**spec.preprocessing, "compute": "bfloat16"}
    same_encoder(replace(spec, preprocessing=faster), weights=path)
    other = {**spec.preprocessing, "rate": 8000}
    with pytest.raises(XmgError, match=r"recipe\.rate is 16000, would be 8000"):
        same_encoder(replace(spec, preprocessing=other), weights=path)


def test_layers_and_pooling_come_back(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64,
        image_size=32, patch_size=8,
    )  # fmt: skip
    folder = tmp_path / "a-vit"
    transformers.ViTModel(config).eval().save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    made = load_encoder(f"hf:{folder}", layers="1,3", pooling="mean,cls", device="cpu")
    spec = spec_of(made)
    with pytest.raises(XmgError, match=r"cannot find by that name\. fix: --encoder"):
        same_encoder(spec, device="cpu")
    photo = np.zeros((40, 40, 3), np.uint8)
    again = same_encoder(spec, name=f"hf:{folder}", device="cpu")
    np.testing.assert_array_equal(*(one.encode([one.decode(photo)]) for one in (made, again)))
    monkeypatch.chdir(tmp_path)
    assert same_encoder(spec, device="cpu").dim == made.dim
    with pytest.raises(XmgError, match="not the encoder"):
        same_encoder(spec, name="char-ngrams")


def test_networks_of_torchvision_have_no_prefix():
    from xmg.extract.same_encoder import _known_name

    pytest.importorskip("torchvision")
    assert _known_name("mobilenet_v2") == "torchvision:mobilenet_v2"
    assert _known_name("resnet18") == "resnet18"
    assert _known_name("timm:vit_tiny") == "timm:vit_tiny"
    assert _known_name("openai/clip") == "hf:openai/clip"


@pytest.mark.parametrize("name", ["os:abort", "payload:go", "a/b:c", "hf:os:abort"])
def test_a_file_names_no_function_to_call(name, tmp_path, monkeypatch):
    (tmp_path / "payload.py").write_text("raise SystemExit('ran')\ndef go(): raise SystemExit")
    monkeypatch.chdir(tmp_path)
    spec = replace(spec_of(load_encoder("char-ngrams")), encoder=name)
    with pytest.raises(XmgError, match=r"fix: --encoder with what xmg extract was given"):
        same_encoder(spec)
