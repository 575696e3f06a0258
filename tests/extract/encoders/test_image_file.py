import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from xmg.extract.encoders.image_file import middle, read_image
from xmg.extract.types import RejectError


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)


def read(path):
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(path, shape, depth, kind, raw: bytes, *chunks: bytes):
    """A PNG byte by byte: kind 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGBA."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *shape, depth, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels)
    return path


def test_plain(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png"), photo)
    np.testing.assert_array_equal(read(photo), photo)


UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
    9: lambda x: x,  # means nothing
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_rotation(tmp_path, photo, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo).save(tmp_path / f"a.{suffix}", exif=exif, lossless=True)
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), UPRIGHT[orientation](photo))


@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF", b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 20])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_spoils_no_pixel(tmp_path, exif):
    Image.new("L", (8, 16), 99).save(tmp_path / "a.jpg", exif=exif)
    np.testing.assert_array_equal(read(tmp_path / "a.jpg"), np.full((16, 8, 3), 99))


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


@pytest.mark.parametrize(
    ("depth", "kind", "row", "chunks", "expected"),
    [
        (16, 2, struct.pack(">6H", 0, 256, 65535, 32768, 128, 511), [], [[0, 1, 255], [128, 0, 1]]),
        (16, 4, struct.pack(">4H", 0, 0, 25600, 65535), [], [[255] * 3, [100] * 3]),
        (16, 0, struct.pack(">2H", 256, 512), [chunk(b"tRNS", b"\1\0")], [[255] * 3, [2] * 3]),
        (8, 4, bytes([100, 255, 100, 0]), [], [[100] * 3, [255] * 3]),
        (8, 2, bytes([1, 2, 3, 4, 5, 6]), [chunk(b"tRNS", b"\0\1\0\2\0\3")],
         [[255] * 3, [4, 5, 6]]),
        (2, 0, b"\x10", [], [[0] * 3, [85] * 3]),
        (8, 3, b"\0\1", [chunk(b"PLTE", b"\xff\0\0\0\0\0"), chunk(b"tRNS", b"\xff\x33")],
         [[255, 0, 0], [204] * 3]),
    ],
    ids=["RGB of 16 bits", "grey + alpha of 16 bits", "a transparent grey of 16 bits",
         "grey + alpha", "a transparent colour", "2 bits", "a palette with alpha"],
)  # fmt: skip
def test_kinds_of_png(tmp_path, depth, kind, row, chunks, expected):
    file = png(tmp_path / "a.png", (2, 1), depth, kind, b"\0" + row, *chunks)
    np.testing.assert_array_equal(read(file), [expected])


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk(tmp_path, suffix):
    """Pillow writes JPEGs as Adobe does, inverted."""
    Image.new("CMYK", (8, 8), (255, 51, 0, 51)).save(tmp_path / f"a.{suffix}", quality=100)
    by_hand = [round((255 - ink) * (255 - 51) / 255) for ink in (255, 51, 0)]
    pixels = read(tmp_path / f"a.{suffix}").astype(int)
    assert abs(pixels - by_hand).max() <= 2


def test_ycck(tmp_path):
    """Adobe's other inverted form: what is stored are 255 - (Y, Cb, Cr, K) of these values."""
    Image.new("CMYK", (8, 8), (155, 127, 27, 0)).save(tmp_path / "a.jpg", quality=100)
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    content[content.index(b"Adobe") + 11] = 2  # the colour transform: none -> YCCK
    (tmp_path / "a.jpg").write_bytes(content)
    y, cb, cr = 100, 128 - 128, 228 - 128  # stored, centred
    cmy = np.array([y + 1.402 * cr, y - 0.344 * cb - 0.714 * cr, y + 1.772 * cb])
    assert abs(read(tmp_path / "a.jpg").astype(int) - (255 - cmy)).max() <= 2


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_the_first_frame_counts(tmp_path, suffix):
    first, *others = (Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue"))
    first.save(tmp_path / f"a.{suffix}", save_all=True, append_images=others, lossless=True)
    np.testing.assert_array_equal(read(tmp_path / f"a.{suffix}"), np.tile([255, 0, 0], (2, 3, 1)))


@pytest.mark.parametrize(
    ("mode", "ink"), [("1", 1), ("L", 255), ("RGBX", (255,) * 4), ("I", 65535)]
)
def test_white_in_other_modes(tmp_path, mode, ink):
    Image.new(mode, (5, 7), ink).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif"), np.full((7, 5, 3), 255))


def test_colour_profiles_are_ignored(tmp_path, photo):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    Image.fromarray(photo).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(read(tmp_path / "a.png"), photo)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "ppm"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(tmp_path, photo, suffix, share):
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(np.kron(photo, np.ones((9, 9, 1), np.uint8))).save(file, progressive=True)
    assert read(file).shape == (54, 36, 3)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(RejectError, match="not a"):
        read_image(file)


def test_a_picture_of_more_than_its_pixels(tmp_path):
    """100 MB of text, or of colour profile, in 100 KB."""
    packed = zlib.compress(bytes(100_000_000))
    for name, head in ((b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")):
        file = png(tmp_path / "a.png", (1, 1), 8, 2, bytes(4), chunk(name, head + packed))
        with pytest.raises(RejectError, match="too large"):
            read_image(file)


def test_formats_that_run_programs_are_no_pictures(tmp_path):
    eps = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_text(eps)
    with pytest.raises(RejectError, match="not a picture in a known format"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("shape", [(5000, 1), (1, 5000), (2, 41), (7, 56), (6, 4), (1, 1)])
def test_strips_are_cut_to_their_middle(shape):
    row = np.arange(max(shape)) % 251
    strip = np.broadcast_to(row[:, None] if shape[0] > shape[1] else row, shape)
    found = np.asarray(middle(Image.fromarray(np.stack([strip] * 3, -1).astype(np.uint8))))[..., 0]
    longest = 8 * min(shape)
    assert max(found.shape) == (max(shape) if max(shape) <= longest else longest + max(shape) % 2)
    start = (max(shape) - max(found.shape)) // 2
    np.testing.assert_array_equal(found, strip[start:, :][: found.shape[0]] if shape[0] > shape[1]
                                  else strip[:, start:][:, : found.shape[1]])  # fmt: skip


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
