"""Photos in and out: JPEG, PNG and WebP. Sizes are bounded before a pixel is decoded.

Metadata never decides about pixels: of it only the EXIF orientation and the ICC profile are read, and
where they cannot be read the image is taken as it is.
"""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from refsr.errors import RefsrError
from refsr.io import jpeg
from refsr.io.atomic import write_file
from refsr.io.paths import explain

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
MAX_PIXELS = 64_000_000
MAX_BYTES = 256 * 2**20  # of a file
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
# Chunks that pixels, transparency, colours and orientation need; texts and all else are left unread.
_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf"}
_WRITTEN_BY = "refsr"
_SOFTWARE = 0x0131  # the EXIF tag of that name


def read_image(path: Path) -> np.ndarray:
    """A photo as (H, W, 3) uint8 sRGB: upright by its EXIF, transparency on white, 16 bits made 8.

    Raises RefsrError where the file is missing, no JPEG, PNG or WebP, damaged, or larger than
    MAX_PIXELS or MAX_BYTES.
    """
    data = _read(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes and metadata; the bounds are ours
            image = _decode_jpeg(path, data) if data.startswith(b"\xff\xd8") else _decode(path, data)
            image = _upright(image, _metadata(data))
            return _to_rgb(image, data)
    except UnidentifiedImageError as error:
        raise RefsrError(f"{path}: not a JPEG, PNG or WebP image") from error
    except Image.DecompressionBombError as error:
        raise RefsrError(f"{path}: too large: {error}") from error
    except RefsrError:
        raise
    except MemoryError as error:
        raise RefsrError(f"{path}: there is not enough memory to decode this image") from error
    except Exception as error:  # decoders raise what they like for broken content
        raise RefsrError(f"{path}: cannot be read as an image: {error}") from error


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


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise RefsrError(f"{path}: {width}x{height} is too large; at most {MAX_PIXELS:,} pixels")


def _decode_jpeg(path: Path, data: bytes) -> Image.Image:
    try:
        width, height = jpeg.size(data)
        _check_pixels(path, width, height)
        jpeg.check_cost(data, width * height)
        return Image.fromarray(jpeg.decode(data))
    except jpeg.JpegError as error:
        message = f"{path}: cannot be read as an image: truncated or damaged: {error}"
        raise RefsrError(message) from error
    except jpeg.JpegCostError as error:
        raise RefsrError(f"{path}: too long to decode: {error}") from error


def _decode(path: Path, data: bytes) -> Image.Image:
    if data.startswith(_PNG):
        data = _PNG + b"".join(_needed_chunks(data))
    image = Image.open(io.BytesIO(data), formats=["PNG", "WEBP"])
    _check_pixels(path, *image.size)
    image.load()
    return image


def _needed_chunks(data: bytes) -> Iterator[bytes]:
    """The chunks of a PNG that matter; a damaged one that only holds colours or turns is left out.

    Raises ValueError where one that holds pixels is damaged, or the end is missing.
    """
    at, kind = len(_PNG), b""
    while kind != b"IEND":
        kind, end = data[at + 4 : at + 8], at + 12 + int.from_bytes(data[at : at + 4])
        chunk = data[at:end]
        whole = end <= len(data) and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if not whole and (end > len(data) or kind[:1].isupper()):
            raise ValueError(f"truncated or damaged at byte {at}")
        if whole and kind in _CHUNKS:
            yield chunk
        at = end


def _metadata(data: bytes) -> Image.Image | None:
    """The file opened for its metadata alone; None where they break the reader."""
    with suppress(Exception):
        if data.startswith(_PNG):
            data = _PNG + b"".join(_needed_chunks(data))
        return Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP"])
    return None


def _upright(image: Image.Image, metadata: Image.Image | None) -> Image.Image:
    """Turned as EXIF says, and in sRGB as the ICC profile says, as far as either can be read."""
    if metadata is None:
        return image
    with suppress(Exception):
        profile = metadata.info.get("icc_profile")
        if profile and image.mode in ("RGB", "RGBA"):
            image = _to_srgb(image, profile)
    with suppress(Exception):
        turn = _TURNS.get(metadata.getexif().get(_ORIENTATION, 1))
        if turn is not None:
            transparency = image.info.get("transparency")
            image = image.transpose(turn)
            if transparency is not None:
                image.info["transparency"] = transparency
    return image


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if source.profile.xcolor_space.strip() != "RGB":
        return image
    target = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, target, outputMode=image.mode)
    if converted is None:
        return image
    if "transparency" in image.info:
        converted.info["transparency"] = image.info["transparency"]
    return converted


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


def _to_rgb(image: Image.Image, data: bytes) -> np.ndarray:
    """(H, W, 3) uint8 RGB, what is transparent on white."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow itself would clip, not scale
        grey = np.asarray(image).astype(np.uint32)
        eight = (grey // 257).astype(np.uint8)
        if isinstance(transparent, int):
            eight[grey == transparent] = 255
        return np.repeat(eight[..., None], 3, axis=2)
    if image.mode == "RGB" and isinstance(transparent, tuple) and data[24:25] == b"\x10":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)  # 16 bits of each colour
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
