"""Files that something is wrong with, in one folder with good ones, through the whole pipeline."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from test_pipeline import Counting

from xmg.cache import XmgError, decode
from xmg.extract.encoders import load_encoder
from xmg.extract.encoders.image import ImageEncoder
from xmg.extract.encoders.speech import frame_statistics, log_mel
from xmg.extract.pipeline import extract
from xmg.extract.sources import open_source
from xmg.extract.types import Sample, Source

RATE = 16_000


def outcome(folder, encoder):
    """Rows and reasons by the name of the file."""
    file = extract(open_source(folder, encoder.modality), encoder, folder / "a.h5", dtype="float32")
    assert len(file) + len(file.rejects) == len(open_source(folder, encoder.modality).samples)
    return dict(zip(decode(file.ids), file.features, strict=True)), dict(file.rejects)


def pixels() -> ImageEncoder:
    """Features are the 6 x 6 pixels in the middle, channel by channel, in [0, 1]."""
    recipe = {"resize": 6, "crop": 6, "interpolation": "nearest"}
    recipe |= {"mean": [0.0] * 3, "std": [1.0] * 3}
    return ImageEncoder("pixels", torch.nn.Flatten(), 108, recipe, device="cpu")


def test_what_is_called_a_picture_and_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket.png")
    Path("loop.png").symlink_to("loop.png")
    Path("dangling.png").symlink_to("nowhere")
    Path("zero.png").symlink_to("/dev/zero")
    Path("class.png").mkdir()
    for name in ("good.png", "class.png/inside.png", "-rf.png", "new\nline.png", "\x1b[31m.png"):
        Image.new("RGB", (6, 6)).save(name)
    rows, rejects = outcome(Path(), pixels())
    assert set(rows) == {
        "good.png", "class.png/inside.png", "-rf.png", "new\nline.png", "\x1b[31m.png",
    }  # fmt: skip
    for name in ("pipe.png", "socket.png", "zero.png"):
        assert rejects.pop(name) == "not a regular file"
    assert {reason[:11] for reason in rejects.values()} == {"cannot open"} and len(rejects) == 2


def test_pictures(tmp_path, monkeypatch):
    photo = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    image, exif = Image.fromarray(photo), Image.Exif()
    exif[0x0112] = 3
    image.save(tmp_path / "plain.png")
    image.rotate(180).save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "animated.webp", save_all=True, append_images=[image], lossless=True)
    cmyk = Image.merge("CMYK", [*Image.fromarray(255 - photo).split(), Image.new("L", (6, 6))])
    cmyk.save(tmp_path / "cmyk.tif")
    Image.new("RGB", (1, 5000), (51, 102, 255)).save(tmp_path / "thin.png")
    image.quantize(4).save(tmp_path / "palette.png", transparency=bytes(4))
    Image.fromarray(np.full((6, 6), 51 << 8, np.uint16)).save(tmp_path / "grey16.png")
    Image.new("1", (200, 200)).save(tmp_path / "bomb.png")
    whole = (tmp_path / "plain.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:90])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    rows, rejects = outcome(tmp_path, pixels())
    for name in ("plain.png", "turned.png", "animated.webp", "cmyk.tif"):
        np.testing.assert_allclose(rows.pop(name), (photo / 255).transpose(2, 0, 1).ravel())
    for name, colour in (
        ("thin.png", [0.2, 0.4, 1]),
        ("palette.png", [1] * 3),
        ("grey16.png", [0.2] * 3),
    ):
        np.testing.assert_allclose(rows.pop(name), np.repeat(colour, 36), rtol=1e-6)
    assert not rows
    assert rejects["bomb.png"].startswith("too many pixels")
    assert rejects["cut.png"] == "not a readable picture: image file is truncated"
    assert len(rejects) == 2


def test_recordings(tmp_path):
    noise = np.random.default_rng(0).integers(-100, 100, RATE).astype(np.float32) / 128
    for name, subtype in (("8", "PCM_U8"), ("16", "PCM_16"), ("24", "PCM_24"), ("32", "FLOAT")):
        soundfile.write(tmp_path / f"bits{name}.wav", noise, RATE, subtype)
    soundfile.write(tmp_path / "six.wav", np.tile(noise[:, None], 6), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "silent96.wav", np.zeros(6 * RATE), 6 * RATE)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan), RATE, "FLOAT")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "bits16.wav").read_bytes()[:-RATE])
    (tmp_path / "nothing.wav").touch()
    rows, rejects = outcome(tmp_path, load_encoder("logmel40-stats"))
    expected = frame_statistics(log_mel(noise))
    for name in ("bits8", "bits16", "bits24", "bits32", "six"):
        np.testing.assert_allclose(rows.pop(f"{name}.wav"), expected, rtol=1e-4, atol=1e-4)
    silence = np.r_[np.full(40, np.log(1e-6)), np.zeros(820)]
    for name in ("silent", "silent96"):
        np.testing.assert_allclose(rows.pop(f"{name}.wav"), silence, rtol=1e-5, atol=1e-5)
    assert not rows
    assert rejects == {
        "cut.wav": "cut off: 50% of what its header promises",
        "empty.wav": "the recording holds no samples",
        "nan.wav": "the recording holds NaN or infinite samples",
        "nothing.wav": rejects["nothing.wav"],  # in libsndfile's words
    }


def test_texts(tmp_path):
    good = {"emoji": "\U0001f600\U0001f44b\U0001f3fd", "long": "word " * 200_000, "short": "word"}
    for name, text in good.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    encoder = load_encoder("char-ngrams")
    rows, rejects = outcome(tmp_path, encoder)
    assert rows.keys() == {f"{name}.txt" for name in good}
    np.testing.assert_allclose(rows["long.txt"], rows["short.txt"], atol=1e-6)  # unit length
    assert np.linalg.norm(rows["emoji.txt"]) == pytest.approx(1, abs=1e-5)
    assert not np.array_equal(rows["emoji.txt"], encoder.encode(["\ufffd" * 3])[0])  # not as "?"
    assert rejects == {
        "empty.txt": "the text is empty",
        "latin.txt": "not UTF-8 text: unexpected end of data at byte 3",
    }


def test_files_that_vanish_or_grow_after_the_listing(tmp_path):
    for name in "abc":
        (tmp_path / name).write_text("1")

    class Moving(Counting):
        def decode(self, content):
            if content.name == "a":
                (tmp_path / "b").unlink(missing_ok=True)
                (tmp_path / "c").write_text("23")
            return int(content.read_text())

    source = Source("s", [Sample(name, tmp_path / name, "x") for name in "abc"])
    file = extract(source, Moving(pace=0), tmp_path / "a.h5", n_workers=1)
    assert [name for name, _ in file.rejects] == ["b"] and decode(file.ids) == ["a", "c"]
    with pytest.raises(XmgError, match=r"1 input is changed \('c'\)"):
        extract(source, Moving(pace=0), tmp_path / "a.h5", n_workers=1)
