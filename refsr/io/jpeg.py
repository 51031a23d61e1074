"""Decode JPEGs; every warning of the decoder counts as damage.

The decoder is libjpeg-turbo, through simplejpeg. Its pixels equal those of cv2.imdecode, which uses
the same library but drops the warnings: it returns a half grey image for a file that is cut.
"""

import numpy as np
import simplejpeg

from refsr.io.limits import MAX_PIXELS

MAX_SCANS = 100  # a progressive JPEG has about ten
MAX_SCANNED = 500_000_000  # pixels times scans; some 10 ns each
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_APP0 = 0xE0  # lowest marker of metadata
_APP2 = 0xE2  # marker of segments with profiles
_ICC = b"ICC_PROFILE\0"  # header of a segment with a part of a profile
_INKS = ("CMYK", "YCCK")


class JpegError(ValueError):
    """A damaged JPEG; the message says how."""


class JpegCostError(ValueError):
    """A JPEG that takes too long to decode; `scans` is how many it has."""

    def __init__(self, scans: int, message: str) -> None:
        super().__init__(message)
        self.scans = scans


def size(data: bytes) -> tuple[int, int]:
    """(width, height) as the decoder reads them from the header; no pixel is decoded.

    Raises:
        JpegError: The header is damaged, or the file has no end marker.
    """
    # In a scan 0xFF is always followed by 0x00 or a restart marker: an end marker after the start
    # of the last scan is the end of the image.
    end = data.rfind(_END)
    if end < 0 or data.find(_SCAN, end) > 0:
        raise JpegError(f"{len(data)} bytes and no end of image")
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    except ValueError as error:
        raise JpegError(str(error)) from error
    return width, height


def check_cost(data: bytes, pixels: int) -> None:
    """Raises JpegCostError where decoding would take long: each scan visits all pixels."""
    # There is one as a rule, and that is quicker to see than to count.
    scans = 1 if data.find(_SCAN) == data.rfind(_SCAN) else data.count(_SCAN)
    if scans > MAX_SCANS or (scans * pixels > MAX_SCANNED and scans > 1):
        limit = min(MAX_SCANS, max(1, MAX_SCANNED // pixels))
        raise JpegCostError(scans, f"{scans} scans; at most {limit} are decoded of {pixels:,} px")


def decode(data: bytes, reduction: int = 1) -> np.ndarray:
    """Decode a JPEG to (H, W, 3) uint8 sRGB, EXIF ignored. Call `size` and `check_cost` before.

    Colours are converted by a readable ICC profile. The reduction happens in the JPEG's own cosine
    domain, which is fast and antialiased.

    Args:
        data: The file.
        reduction: 1, 2, 4 or 8, by which the sides are divided, rounded up.

    Raises:
        JpegError: The decoder warns, or the image has more than MAX_PIXELS.
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
    """(H, W, C) uint8; `least` is (height, width), one of the decoder's reduced sizes."""
    pixels: np.ndarray = simplejpeg.decode_jpeg(
        data, colorspace=space, min_height=least[0], min_width=least[1], min_factor=1, strict=True
    )
    return pixels


def _in_srgb(data: bytes, least: tuple[int, int], space: str, profile: bytes) -> np.ndarray | None:
    from PIL import Image

    from refsr.io.colour import to_srgb

    if space in _INKS:
        # Files store the inverse of the inks.
        image = Image.fromarray(255 - _pixels(data, least, "CMYK"), "CMYK")
    elif space == "Gray":
        image = Image.fromarray(_pixels(data, least, "GRAY")[..., 0])
    else:
        image = Image.fromarray(_pixels(data, least, "RGB"))
    converted = to_srgb(image, profile)
    return None if converted is None else np.array(converted)


def icc_profile(data: bytes) -> bytes:
    """The ICC profile of a JPEG, joined from its segments; empty where none is complete.

    All writers put it before the tables and the frame, so that the search ends there.
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
