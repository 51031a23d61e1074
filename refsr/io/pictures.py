"""Images other than JPEG: PNG, WebP and BMP by Pillow, their size read before a pixel is decoded."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "WEBP", "BMP")


class PictureError(ValueError):
    """An image that is damaged; the text says how."""


class UnknownError(ValueError):
    """Content of another format."""


class TooLargeError(ValueError):
    """More pixels than Pillow opens."""


def size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header; nothing is decoded.

    Raises:
        UnknownError: It is of another format.
        TooLargeError: It has hundreds of millions of pixels.
        PictureError: It is damaged.
    """
    return _open(data).size


def decode(data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB as stored: EXIF ignored, transparency on white, 16 bits made 8.

    Call `size` before. Raises UnknownError for other formats, PictureError where it is damaged.
    """
    image = _open(data)
    try:
        image.load()
        return _rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like for broken content
        raise PictureError(str(error)[:200]) from error


def _open(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are the caller's to bound
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnknownError("neither PNG nor WebP nor BMP") from error
    except Image.DecompressionBombError as error:
        raise TooLargeError(str(error)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(str(error)[:200]) from error


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip, not scale
        grey = np.clip(np.asarray(image).astype(np.int64) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
