"""Photos in and out: JPEG, PNG and WebP, with their size known to be bearable before a pixel is decoded."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from refsr.errors import RefsrError
from refsr.io.atomic import write_file
from refsr.io.paths import explain

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
MAX_PIXELS = 64_000_000
_WRITTEN_BY = "refsr"
_SOFTWARE = 0x0131  # the EXIF tag of that name


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
    """Write (H, W, 3) uint8 RGB beside `path`, then rename; the file says that refsr wrote it (see `is_own_image`).

    Raises:
        RefsrError: It cannot be written.
    """
    kind = output_format(path)
    try:
        write_file(path, lambda partial: Image.fromarray(image).save(partial, format=kind, quality=95, **_mark(kind)))
    except OSError as error:
        raise RefsrError(f"{path}: cannot be written: {explain(error)}") from error


def is_own_image(path: Path) -> bool:
    """Whether `write_image` wrote a file, by what its metadata say."""
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            marks = (image.info.get("Software"), image.info.get("comment"), image.getexif().get(_SOFTWARE))
    except Exception:
        return False
    return _WRITTEN_BY in marks or _WRITTEN_BY.encode() in marks


def _mark(kind: str) -> dict[str, Any]:
    """Options of Pillow's `save` that name refsr as the software, in each format's own way."""
    if kind == "JPEG":
        return {"comment": _WRITTEN_BY.encode()}
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", _WRITTEN_BY)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[_SOFTWARE] = _WRITTEN_BY
    return {"exif": exif}


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit grey: Pillow itself would clip, not scale
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
