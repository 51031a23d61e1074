"""Photos in and out: JPEG, PNG and WebP; in, AVIF and HEIF as well.

Sizes are bounded before a pixel is decoded.

Metadata never decides about pixels: of it only the EXIF orientation and the ICC profile are read,
and where they cannot be read the image is taken as it is.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from refsr.errors import RefsrError
from refsr.io import jpeg, limits, pictures
from refsr.io.atomic import write_file
from refsr.io.limits import MAX_PIXELS
from refsr.io.paths import explain, require_parent
from refsr.io.timed import OvertimeError, within

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
MAX_BYTES = 256 * 2**20  # of a file
READ = (*FORMATS, ".avif", ".heic", ".heif")  # suffixes of what is taken out of a folder
_OTHERS = ("PNG", "WEBP", "AVIF", "HEIF")
_WRITTEN_BY = "refsr"
_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E  # EXIF tags


def read_image(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8 sRGB: upright by its EXIF, transparency on white, 16 bits made 8.

    Raises RefsrError where the file is missing, of none of these formats, damaged, larger than
    MAX_PIXELS or MAX_BYTES, or takes more than `limits.SECONDS` of processor time.
    """
    return decode_image(_read(path), str(path))


def decode_image(data: bytes, name: str, most: int = MAX_PIXELS) -> np.ndarray:
    """As `read_image`, from the bytes of a file.

    Args:
        data: The file.
        name: What messages call it.
        most: Pixels that are decoded, at most MAX_PIXELS.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        RefsrError: See `read_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata; the bounds are ours
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return within(limits.SECONDS, lambda: _pixels(name, data, most))
    except pictures.UnknownError as error:
        missing = str(error)
        known = f"it is {missing}" if missing else "not a JPEG, PNG, WebP, AVIF or HEIF image"
        raise RefsrError(f"{name}: {known}") from error
    except pictures.TooLargeError as error:
        raise RefsrError(f"{name}: too large; at most {most:,} pixels") from error
    except OvertimeError as error:
        raise RefsrError(f"{name}: too long to decode: {error}") from error
    except RefsrError:
        raise
    except MemoryError as error:
        raise RefsrError(f"{name}: there is not enough memory to decode this image") from error
    except Exception as error:  # decoders raise what they like for broken content
        raise RefsrError(f"{name}: cannot be read as an image: {error}") from error


def _pixels(name: str, data: bytes, most: int) -> np.ndarray:
    is_jpeg = data.startswith(b"\xff\xd8")
    image = (_decode_jpeg if is_jpeg else _decode_other)(name, data, most)
    return pictures.upright(np.array(image), pictures.orientation(data))


def _decode_other(name: str, data: bytes, most: int) -> Image.Image:
    _check_pixels(name, *pictures.size(data, _OTHERS), most)
    return pictures.decode(data, _OTHERS)


def _read(path: Path) -> bytes:
    try:
        length = path.stat().st_size
        if length > MAX_BYTES:
            raise RefsrError(f"{path}: {length:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RefsrError(f"{path}: no such file") from error
    except OSError as error:
        raise RefsrError(f"{path}: cannot be read: {error.strerror}") from error


def _check_pixels(name: str, width: int, height: int, most: int) -> None:
    if width * height > most:
        raise RefsrError(f"{name}: {width}x{height} is too large; at most {most:,} pixels")


def _decode_jpeg(name: str, data: bytes, most: int) -> Image.Image:
    try:
        width, height = jpeg.size(data)
        _check_pixels(name, width, height, most)
        jpeg.check_cost(data, width * height)
        return Image.fromarray(jpeg.decode(data))
    except jpeg.JpegError as error:
        message = f"{name}: cannot be read as an image: truncated or damaged: {error}"
        raise RefsrError(message) from error
    except jpeg.JpegCostError as error:
        raise RefsrError(f"{name}: too long to decode: {error}") from error


def output_format(path: Path) -> str:
    """The format of an image to be written.

    Raises RefsrError for an unknown one, and where there is no folder.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise RefsrError(f"{path}: the output is to end in one of {', '.join(FORMATS)}")
    require_parent(path)
    return kind


def write_image(path: Path, image: np.ndarray, about: str = "") -> None:
    """Write (H, W, 3) uint8 RGB beside `path`, then rename.

    The file says that refsr wrote it (see `is_own_image`), and `about` itself as its description
    (see `description`).

    Raises:
        RefsrError: It cannot be written.
    """
    kind = output_format(path)
    try:
        write_file(
            path,
            lambda partial: Image.fromarray(image).save(
                partial, format=kind, quality=95, **_mark(kind, about)
            ),
        )
    except OSError as error:
        raise RefsrError(f"{path}: cannot be written: {explain(error)}") from error


def is_own_image(path: Path) -> bool:
    """Whether `write_image` wrote a file, by what its metadata say."""
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            comment = image.info.get("comment")  # of JPEGs of version 0.2
            marks = image.info.get("Software"), image.getexif().get(_SOFTWARE)
    except Exception:
        return False
    return _WRITTEN_BY in marks or comment == _WRITTEN_BY.encode()


def description(path: Path) -> str:
    """What `write_image` wrote about an image; empty for another file."""
    try:
        with Image.open(path, formats=sorted(set(FORMATS.values()))) as image:
            about = image.info.get("Description") or image.getexif().get(_DESCRIPTION)
    except Exception:
        return ""
    return about if isinstance(about, str) else ""


def _mark(kind: str, about: str) -> dict[str, Any]:
    """Options of Pillow's `save` that name refsr as the software, in each format's own way."""
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Software", _WRITTEN_BY)
        if about:
            text.add_itxt("Description", about)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[_SOFTWARE] = _WRITTEN_BY
    if about:
        exif[_DESCRIPTION] = about
    return {"exif": exif}
