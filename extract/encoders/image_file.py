"""Read one picture as upright RGB."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from xmg.extract.types import Content, RejectError

# Part of every image encoder's preprocessing: these choices change numbers.
IMAGE: Final = {"orientation": "EXIF", "transparency": "over white"}
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
Image.init()
# Of all that Pillow knows: some of the others start programs, or take nearly any bytes.
_FORMATS: Final = sorted(
    {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"} & Image.OPEN.keys()
)
_TURN: Final = dict(enumerate(
    (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
     Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
     Image.Transpose.ROTATE_90), start=2,
))  # fmt: skip
_LONGEST: Final = 8  # times the shorter side


def read_image(content: Content) -> Image.Image:
    """Read a file or an (H, W, 3) uint8 array as an RGB image.

    EXIF rotation is applied, transparency laid over white, 16 bits scaled to 8, CMYK converted
    without colour profiles; of an animation the first frame counts. Raises RejectError where the
    input is missing, truncated, no picture, or has more pixels than Pillow's limit (a bomb).
    """
    if isinstance(content, np.ndarray):
        return _from_array(content)
    if not isinstance(content, Path):
        raise RejectError(f"expected a picture, got {type(content).__name__}")
    try:
        # an open file, as Pillow maps a named one into memory and then turns TIFFs wrongly
        with content.open("rb") as file, Image.open(file, formats=_FORMATS) as image:
            _check_size(image)
            image.load()
            turn = _TURN.get(_orientation(image))
            return _rgb(image if turn is None else image.transpose(turn))
    except _BOMBS as error:
        raise RejectError(f"too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise RejectError(_reason(error)) from error


def middle(image: Image.Image) -> Image.Image:
    """Cut a strip to the middle of its longer side, eight times the shorter one.

    A centre crop is left as it was; resizing 1 x 5,000 pixels by the shorter side would fill 1 GB.
    """
    width, height = image.size
    longest = _LONGEST * min(width, height)
    x, y = (max(0, side - longest) // 2 for side in (width, height))  # equal at both ends
    return image.crop((x, y, width - x, height - y)) if x or y else image


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise RejectError(f"expected (H, W, 3) uint8, got {array.shape} {array.dtype}")
    return Image.fromarray(array)


def _check_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:
        raise RejectError(f"too many pixels: {image.width} x {image.height}, the limit is {limit}")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF can raise anything, and spoils no pixel
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode: a plain convert would show what lies under transparent pixels."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        grey = (values >> 8).clip(0, 255)  # 16 bits to 8
        grey[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise RejectError("a picture of floating-point values has no defined brightness")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot open: {error.strerror}"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a known format"
    return f"not a readable picture: {error}"
