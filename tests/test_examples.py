"""The files of examples/ do what the tutorials say of them."""

import csv
import io
import json
import subprocess
import sys
import tarfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def encoder_of(monkeypatch):
    """Load `module:load` as the command does, in the folder of the examples."""
    pytest.importorskip("PIL")
    monkeypatch.syspath_prepend(EXAMPLES)
    from xmg.extract.encoders import load_encoder

    return lambda name: load_encoder(f"{name}:load")


def picture(path, values):
    from PIL import Image

    Image.fromarray(np.asarray(values, np.uint8)).save(path)
    return path


def test_gradients_tell_directions_apart(encoder_of, tmp_path):
    """Brightness that grows to the right has direction 0, downwards pi / 2: the fifth of 9 bins."""
    encoder = encoder_of("gradients")
    ramp = np.tile(np.arange(128), (128, 1))
    right = encoder.decode(picture(tmp_path / "right.png", ramp))
    down = encoder.decode(picture(tmp_path / "down.png", ramp.T))
    rows = np.stack(list(encoder.encode([right, down])))
    assert rows.shape == (2, encoder.dim) and rows.dtype == np.float32
    npt.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    cells = rows.reshape(2, 64, 9)
    assert (cells[0].argmax(1) == 0).all() and (cells[1].argmax(1) == 4).all()
    npt.assert_array_equal(rows[:1], encoder.encode([right]))  # whatever the batch


def test_gradients_through_an_extraction(encoder_of, tmp_path):
    from xmg.extract.pipeline import extract
    from xmg.extract.sources import open_source

    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3))
    for i, values in enumerate(noise):
        (tmp_path / f"photos/kind{i}").mkdir(parents=True)
        picture(tmp_path / f"photos/kind{i}/one.png", values)
    (tmp_path / "photos/kind0/broken.jpg").write_text("not a picture")
    file = extract(
        open_source(tmp_path / "photos", "image"), encoder_of("gradients"), tmp_path / "photos.h5"
    )
    assert (file.encoder, len(file), file.classes) == ("gradients", 2, ["kind0", "kind1"])
    assert [(name, reason[:10]) for name, reason in file.rejects] == [
        ("kind0/broken.jpg", "no picture")
    ]


def test_network_is_the_network(encoder_of, tmp_path, monkeypatch):
    """Features are those of the saved weights, less the last layer, of a picture prepared so."""
    torch = pytest.importorskip("torch")
    models = pytest.importorskip("torchvision.models")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = models.resnet18().eval()
    weights = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    save_file(weights, tmp_path / "network.safetensors")
    monkeypatch.chdir(tmp_path)
    encoder = encoder_of("network")
    values = np.random.default_rng(0).integers(0, 256, (256, 256, 3))
    x = encoder.decode(picture(tmp_path / "one.png", values))
    cut = values[16:240, 16:240] / 255
    expected = (cut - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    npt.assert_allclose(x.numpy(), expected.transpose(2, 0, 1), atol=1e-5)
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        wanted = network(x[None])
    npt.assert_allclose(encoder.encode([x]), wanted.cpu().numpy(), rtol=1e-4, atol=1e-4)
    assert len(encoder.weights_sha256) == 64


def run(script, *arguments, cwd):
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def package(path, vendor, codes, listed):
    """What a package of emoji pictures holds."""
    with tarfile.open(path, "w:gz") as out:
        files = {
            f"package/img/{vendor}/64/{code}.png": f"{vendor} {code}".encode() for code in codes
        }
        for name, data in {"package/emoji.json": json.dumps(listed).encode(), **files}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


def test_emoji_set(tmp_path):
    def emoji(i, subcategory, category="Objects", twitter=True):
        return {
            "unified": f"1F{i:03X}", "name": f"THING {i}", "short_name": f"a_{i}",
            "short_names": [f"a_{i}", f"thing_{i}"], "subcategory": subcategory,
            "category": category, "has_img_google": True, "has_img_twitter": twitter,
        }  # fmt: skip

    listed = [
        *(emoji(i, "tool") for i in range(16)),
        *(emoji(i, "rare") for i in range(16, 31)),  # one too few
        *(emoji(i, "flag", "Flags") for i in range(31, 60)),
        emoji(60, "tool", twitter=False),  # drawn by one vendor alone
    ]
    codes = [e["unified"].lower() for e in listed]
    paths = [tmp_path / f"emoji-datasource-{v}-1.0.0.tgz" for v in ("google", "twitter")]
    for path, vendor in zip(paths, ("google", "twitter"), strict=True):
        package(path, vendor, codes, listed)
    run("emoji_set.py", *paths, cwd=tmp_path)
    with open(tmp_path / "emoji.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [
        f"{vendor}/{code}" for code in codes[:16] for vendor in ("google", "twitter")
    ]
    assert (rows[0]["text"], rows[0]["recording"]) == ("thing 0, a 0", codes[0])
    for row in rows:
        vendor, code = row["id"].split("/")
        assert (tmp_path / row["image"]).read_bytes() == f"{vendor} {code}".encode()


def test_published_sets_as_folders(tmp_path):
    for name in ("caltech101", "esc50"):
        if not (DATA / name).exists():
            pytest.skip(f"{name} is absent: {DATA / name}")
    run("published_as_folders.py", DATA / "caltech101", DATA / "esc50", cwd=tmp_path)
    photos = list((tmp_path / "photos").iterdir())
    assert len(photos) == 101 and all(len(list(f.iterdir())) == 10 for f in photos)
    with open(tmp_path / "sounds.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 601 and all((tmp_path / row["path"]).exists() for row in rows)


def test_yamnets_weights_are_brought_over_with_their_batch_norms_folded(tmp_path):
    """Keras's layout, of random values: each layer maps as a convolution and a batch norm do."""
    h5py = pytest.importorskip("h5py")
    import torch
    from safetensors.torch import load_file
    from torch.nn import functional

    from xmg.extract.encoders.yamnet import Yamnet

    rng, widths = np.random.default_rng(0), [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    convolutions = {"layer1/conv": ("kernel", (3, 3, 1, 32))}
    for i, (n_in, n_out) in enumerate(pairwise(widths), 2):
        convolutions[f"layer{i}/depthwise_conv"] = "depthwise_kernel", (3, 3, n_in, 1)
        convolutions[f"layer{i}/pointwise_conv"] = "kernel", (1, 1, n_in, n_out)
    kept = {}
    for layer, (kind, shape) in convolutions.items():
        kept[f"{layer}/{layer}/{kind}:0"] = rng.normal(size=shape)
        n = max(shape[2:])
        for part in ("beta", "moving_mean", "moving_variance"):
            kept[f"{layer}/bn/{layer}/bn/{part}:0"] = rng.uniform(0.1, 1, n)
    kept |= {"logits/logits/kernel:0": rng.normal(size=(1024, 521)),
             "logits/logits/bias:0": rng.normal(size=521)}  # fmt: skip
    with h5py.File(tmp_path / "yamnet.h5", "w") as file:
        for path, value in kept.items():
            file[path] = value.astype("f4")
    script = EXAMPLES / "yamnet_weights.py"
    subprocess.run([sys.executable, script, "yamnet.h5"], cwd=tmp_path, check=True)
    state = load_file(tmp_path / "yamnet.safetensors")
    Yamnet().load_state_dict(state)
    for ours, layer in (
        ("conv0", "layer1/conv"),
        ("block13.depthwise", "layer14/depthwise_conv"),
        ("block6.pointwise", "layer7/pointwise_conv"),
    ):
        kind, _ = convolutions[layer]
        kernel = torch.from_numpy(kept[f"{layer}/{layer}/{kind}:0"])
        depthwise = kind == "depthwise_kernel"
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        groups = len(kernel) if depthwise else 1
        x = torch.randn(2, kernel.shape[1] * groups, 5, 5, dtype=torch.float64)
        beta, mean, variance = (
            torch.from_numpy(kept[f"{layer}/bn/{layer}/bn/{part}:0"])
            for part in ("beta", "moving_mean", "moving_variance")
        )
        y = functional.conv2d(x, kernel, groups=groups)
        expected = functional.batch_norm(y, mean, variance, None, beta, eps=1e-4)
        found = functional.conv2d(
            x, state[f"{ours}.weight"].double(), state[f"{ours}.bias"].double(), groups=groups
        )
        npt.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-3)
