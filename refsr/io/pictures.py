"""PNG, WebP, BMP, AVIF and HEIF; the EXIF orientation, of JPEGs as well.

The size is read before a pixel is decoded, and metadata never decides about pixels. Of the metadata
only the ICC profile is used here; where it cannot be read the image is taken as it is.
"""

import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
from PIL import Image, UnidentifiedImageError

from refsr.io import boxed_formats
from refsr.io.colour import to_srgb
from refsr.io.limits import MAX_PIXELS

FORMATS = ("PNG", "WEBP", "BMP", "AVIF", "HEIF")
PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that pixels, transparency, colours and orientation need; texts and all else are left
# unread.
_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf"}
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
UPRIGHT = 1  # the orientation of an image that is stored as it is shown
_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # by orientation
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}


class PictureError(ValueError):
    """An image that is damaged; the text says how."""


class UnknownError(ValueError):
    """Content of another format; the text names what is to be installed, if that would help."""


class TooLargeError(ValueError):
    """More pixels than are decoded."""


def size(data: bytes, formats: tuple[str, ...] = FORMATS) -> tuple[int, int]:
    """(width, height) from the header; nothing is decoded.

    Raises:
        UnknownError: It is of another format.
        TooLargeError: It has more than MAX_PIXELS.
        PictureError: It is damaged.
    """
    return _open(data, formats).size


def decode(data: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The image in mode RGB, sRGB by its profile, as stored: EXIF ignored.

    Transparency lies on white, 16 bits are made 8. Raises as `size`.
    """
    image = _open(data, formats)
    stated = image.size
    try:
        image.load()
        if image.size != stated:  # a decoder may only learn the true size now
            raise PictureError(f"{image.size} px; its header says {stated}")
        return _to_rgb(image, data, image.info.get("icc_profile"))
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like for broken content
        raise PictureError(str(error)[:200]) from error


def orientation(data: bytes) -> int:
    """The EXIF orientation of a file, 1 to 8; 1 where it has none that can be read."""
    with suppress(Exception):  # Pillow raises what it likes for broken metadata
        known = open_for_metadata(data).getexif().get(_ORIENTATION, UPRIGHT)
        return known if known in _TURNS else UPRIGHT
    return UPRIGHT


def upright(image: np.ndarray, turned: int) -> np.ndarray:
    """A stored image (H, W, ...) as it is to be shown; `turned` is its orientation."""
    turn = _TURNS.get(turned)
    return image if turn is None else np.ascontiguousarray(turn(image))


def swaps_sides(turned: int) -> bool:
    """Whether an image of this orientation is shown with width and height exchanged."""
    return turned > 4


def open_for_metadata(data: bytes) -> Image.Image:
    """The file as Pillow opens it, without its texts; nothing is decoded.

    Raises what Pillow raises.
    """
    boxed_formats.missing(data)  # registers what there is
    return Image.open(io.BytesIO(_without_texts(data)), formats=("JPEG", *_of(data, FORMATS)))


def _of(data: bytes, formats: tuple[str, ...]) -> tuple[str, ...]:
    """The formats that content can be of; where it names one itself, that one alone."""
    named = boxed_formats.kind(data)
    if named:
        return tuple(each for each in formats if each == named)
    return tuple(each for each in formats if each not in boxed_formats.FORMATS)


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    if boxed_formats.kind(data) in formats and (missing := boxed_formats.missing(data)):
        raise UnknownError(missing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata; the bounds are ours
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(_without_texts(data)), formats=_of(data, formats))
    except UnidentifiedImageError as error:
        if boxed_formats.kind(data) in formats:
            raise PictureError(str(error)[:200]) from error
        raise UnknownError from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(str(error)) from error
    except MemoryError:
        raise
    except Exception as error:
        raise PictureError(str(error)[:200]) from error


def _without_texts(data: bytes) -> bytes:
    """A PNG with the chunks alone that matter; every other format as it is."""
    return PNG + b"".join(_needed_chunks(data)) if data.startswith(PNG) else data


def _needed_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG that matter.

    A damaged one that only tells of colours or turns is left out. Raises ValueError where one that
    holds pixels is damaged, or the end is missing.
    """
    at, kind = len(PNG), b""
    while kind != b"IEND":
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        chunk = data[at:end]
        whole = end <= len(data) and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if not whole and (end > len(data) or kind[:1].isupper()):
            raise ValueError(f"truncated or damaged at byte {at}")
        if whole and kind in _CHUNKS:
            yield chunk
        at = end


def _to_rgb(image: Image.Image, data: bytes, profile: bytes | None) -> Image.Image:
    """Mode RGB, in sRGB by the profile if there is one, what is transparent on white."""
    colours, alpha = _apart(image, data)
    converted = to_srgb(colours, profile) if profile else None
    rgb = colours.convert("RGB") if converted is None else converted
    if alpha is None:
        return rgb
    rgb.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", rgb.size, "white"), rgb).convert("RGB")


def _apart(image: Image.Image, data: bytes) -> tuple[Image.Image, Image.Image | None]:
    """Colours of 8 bits (mode RGB or L), and opacity (mode L) where something is transparent."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow itself would clip, not scale
        grey = np.asarray(image).astype(np.uint32)
        eight = Image.fromarray((grey // 257).astype(np.uint8))
        if not isinstance(transparent, int):
            return eight, None
        return eight, Image.fromarray(np.where(grey == transparent, 0, 255).astype(np.uint8))
    if image.mode == "RGB" and isinstance(transparent, tuple) and data[24:25] == b"\x10":
        image.info["transparency"] = tuple(
            value >> 8 for value in transparent
        )  # 16 bits of each colour
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    image.info.pop("transparency", None)
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"), alpha
