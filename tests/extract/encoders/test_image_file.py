import numpy as np
import pytest
from PIL import Image

from xmg.extract.encoders.image_file import read_image
from xmg.extract.types import RejectError


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


def read(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_plain(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), photo)
    np.testing.assert_array_equal(read(photo), photo)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(3, lambda x: x[::-1, ::-1]), (6, lambda x: np.rot90(x, -1)), (8, np.rot90)],
)
def test_exif_rotation(tmp_path, photo, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), upright(photo))


def test_transparency_lies_over_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 255], [9, 9, 9, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    expected = [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]  # 51 / 255 of black
    np.testing.assert_array_equal(read(tmp_path / "a.png"), expected)


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), [[[255] * 3, [40, 50, 60]]])


def test_grey_of_16_bits(tmp_path):
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png")[0, :, 0], [0, 1, 255])


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr"])
def test_other_modes(tmp_path, mode):
    Image.new(mode, (5, 7)).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif").shape == (7, 5, 3)


def test_bad_files(tmp_path, photo):
    (tmp_path / "text.jpg").write_text("I am no picture")
    (tmp_path / "empty.png").touch()
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.repeat(np.repeat(photo, 40, 0), 40, 1)).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-500])
    for name, reason in [
        ("text.jpg", "not a picture in a known format"),
        ("empty.png", "not a picture in a known format"),
        ("cut.jpg", "truncated"),
        ("none.jpg", "cannot open: No such file"),
    ]:
        with pytest.raises(RejectError, match=reason):
            read_image(tmp_path / name)


@pytest.mark.parametrize("limit", [5, 15, 23])  # error, warning, our own check
def test_decompression_bomb(tmp_path, photo, monkeypatch, limit):
    Image.fromarray(photo).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(RejectError, match="too many pixels"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("bad", [np.zeros((3, 4), np.uint8), np.zeros((2, 2, 3)), "a.png"])
def test_other_content(bad):
    with pytest.raises(RejectError, match="expected"):
        read_image(bad)
