"""Photos in and out: JPEG, PNG and WebP, with their size known to be bearable before a pixel is decoded."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from refsr.errors import RefsrError

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
MAX_PIXELS = 64_000_000


def read_image(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB: turned upright by its EXIF, transparency on white, 16 bits made 8.

    Raises RefsrError where the file is missing, no JPEG, PNG or WebP, damaged, or larger than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is ours
            image = Image.open(path, formats=sorted(set(FORMATS.values())))
        with image:
            if image.width * image.height > MAX_PIXELS:
                raise RefsrError(f"{path}: {image.width}x{image.height} is too large; at most {MAX_PIXELS:,} pixels")
            return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise RefsrError(f"{path}: not a JPEG, PNG or WebP image") from error
    except Image.DecompressionBombError as error:
        raise RefsrError(f"{path}: too large: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken content
        raise RefsrError(f"{path}: cannot be read as an image: {error}") from error


def output_format(path: Path) -> str:
    """The format of an image to be written. Raises RefsrError for an unknown one, and where there is no folder."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise RefsrError(f"{path}: the output is to end in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise RefsrError(f"{path.parent}: no such folder; make it first, or name another output")
    return kind


def write_image(path: Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB beside `path`, then rename. Raises RefsrError where that cannot be."""
    kind = output_format(path)
    partial = path.with_name(path.name + ".partial")
    try:
        Image.fromarray(image).save(partial, format=kind, quality=95)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RefsrError(f"{path}: cannot be written: {error}") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow itself would clip, not scale
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
