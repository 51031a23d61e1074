"""JPEG in: one decoder says what a file holds, and every warning of it counts as damage.

The decoder is libjpeg-turbo, by way of simplejpeg. Its pixels are those of cv2.imdecode, which uses
the same library but drops the warnings: a file cut in the middle comes out half grey there.
"""

import numpy as np
import simplejpeg

from refsr.io.limits import MAX_PIXELS

MAX_SCANS = 100  # a progressive JPEG has about ten
MAX_SCANNED = 500_000_000  # pixels times scans; some 10 ns each
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_APP0, _APP2 = (
    0xE0,
    0xE2,
)  # markers: of the first kind of metadata, and of those that hold a profile
_ICC = b"ICC_PROFILE\0"  # title of a segment with a part of a profile
_INKS = ("CMYK", "YCCK")


class JpegError(ValueError):
    """A JPEG that is damaged; the text says how."""


class JpegCostError(ValueError):
    """A JPEG that takes too long to decode; `scans` is how many it has."""

    def __init__(self, scans: int, message: str) -> None:
        super().__init__(message)
        self.scans = scans


def size(data: bytes) -> tuple[int, int]:
    """(width, height) as the decoder itself reads them from the header; nothing is decoded.

    Raises JpegError where the header is damaged or the file has no end marker.
    """
    # Within a scan 0xFF is always followed by 0x00 or a restart marker, so an end marker after the
    # start of the last scan is the end of the image.
    if data.rfind(_END) <= data.rfind(_SCAN):
        raise JpegError(f"{len(data)} bytes and no end of image")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        raise JpegError(str(error)) from error
    return width, height


def check_cost(data: bytes, pixels: int) -> None:
    """Raises JpegCostError where decoding would take long: every scan goes over all pixels once."""
    scans = data.count(_SCAN)
    if scans > MAX_SCANS or (scans * pixels > MAX_SCANNED and scans > 1):
        limit = min(MAX_SCANS, max(1, MAX_SCANNED // pixels))
        raise JpegCostError(scans, f"{scans} scans; at most {limit} are decoded of {pixels:,} px")


def decode(data: bytes, reduction: int = 1) -> np.ndarray:
    """(H, W, 3) uint8 sRGB, EXIF ignored; sides divided by `reduction` (1, 2, 4 or 8), rounded up.

    The reduction happens in the JPEG's own cosine domain, which is quick and antialiased. Colours are
    converted by the ICC profile where there is one that can be read. Call `size` and `check_cost`
    before. Raises JpegError where the decoder so much as warns, or for more than MAX_PIXELS.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if height * width > MAX_PIXELS:
            raise JpegError(f"{width}x{height} px; at most {MAX_PIXELS:,} px are decoded")
        least = -(-height // reduction), -(-width // reduction)
        profile = icc_profile(data)
        converted = _in_srgb(data, least, space, profile) if profile else None
        return _pixels(data, least, "RGB") if converted is None else converted
    except JpegError:
        raise
    except ValueError as error:
        raise JpegError(str(error)) from error


def _pixels(data: bytes, least: tuple[int, int], space: str) -> np.ndarray:
    """(H, W, C) uint8; `least` is (height, width) and one of the sizes that the decoder offers."""
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, colorspace=space, min_height=least[0], min_width=least[1], min_factor=1, strict=True
    )
    return pixels


def _in_srgb(data: bytes, least: tuple[int, int], space: str, profile: bytes) -> np.ndarray | None:
    from PIL import Image

    from refsr.io.colour import to_srgb

    if space in _INKS:
        image = Image.fromarray(255 - _pixels(data, least, "CMYK"), "CMYK")  # stored is what is left white
    elif space == "Gray":
        image = Image.fromarray(_pixels(data, least, "GRAY")[..., 0])
    else:
        image = Image.fromarray(_pixels(data, least, "RGB"))
    converted = to_srgb(image, profile)
    return None if converted is None else np.array(converted)


def icc_profile(data: bytes) -> bytes:
    """The ICC profile of a JPEG, put together from its segments; empty where none is whole.

    It stands, as all writers have it, before the tables and the frame: no further is it looked for.
    """
    parts: dict[int, bytes] = {}
    at, count, room = 2, 0, len(data) - 18
    while at < room and data[at] == 0xFF and data[at + 1] >= _APP0:
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        if data[at + 1] == _APP2 and data[at + 4 : at + 16] == _ICC and end >= at + 18:
            count = data[at + 17]
            parts[data[at + 16]] = data[at + 18 : end]
        at = end
    if not count or sorted(parts) != list(range(1, count + 1)):
        return b""
    return b"".join(parts[number] for number in range(1, count + 1))
