"""Read one picture as upright RGB."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from xmg.extract.types import Content, RejectError

# Part of every image encoder's preprocessing: these choices change numbers.
IMAGE: Final = {"orientation": "EXIF", "transparency": "over white"}
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_image(content: Content) -> Image.Image:
    """Read a file or an (H, W, 3) uint8 array as an RGB image.

    EXIF rotation is applied, transparency laid over white, 16-bit grey scaled to 8 bits; of an
    animation the first frame counts. Raises RejectError where the input is missing, truncated,
    no picture, or has more pixels than Pillow's limit (a decompression bomb).
    """
    if isinstance(content, np.ndarray):
        return _from_array(content)
    if not isinstance(content, Path):
        raise RejectError(f"expected a picture, got {type(content).__name__}")
    try:
        with Image.open(content) as image:
            _check_size(image)
            return _rgb(ImageOps.exif_transpose(image))
    except _BOMBS as error:
        raise RejectError(f"too many pixels: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise RejectError(_reason(error)) from error


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise RejectError(f"expected (H, W, 3) uint8, got {array.shape} {array.dtype}")
    return Image.fromarray(array)


def _check_size(image: Image.Image) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:
        raise RejectError(f"too many pixels: {image.width} x {image.height}, the limit is {limit}")


def _rgb(image: Image.Image) -> Image.Image:
    """Convert any mode: a plain convert would show what lies under transparent pixels."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64) >> 8  # 16 bits to 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
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
