"""JPEG in: one decoder says what a file holds, and every warning of it counts as damage.

The decoder is libjpeg-turbo, by way of simplejpeg. Its pixels are those of cv2.imdecode, which uses
the same library but drops the warnings: a file cut in the middle comes out half grey there.
"""

import numpy as np
import simplejpeg

MAX_SCANS = 100  # a progressive JPEG has about ten
MAX_SCANNED = 500_000_000  # pixels times scans; some 10 ns each
_SCAN, _END = b"\xff\xda", b"\xff\xd9"


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
    """(H, W, 3) uint8 RGB as stored, EXIF ignored; sides divided by `reduction` (1, 2, 4 or 8), rounded up.

    The reduction happens in the JPEG's own cosine domain, which is quick and antialiased. Call
    `size` and `check_cost` before. Raises JpegError where the decoder so much as warns.
    """
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data,
            colorspace="RGB",
            min_height=-(-height // reduction),
            min_width=-(-width // reduction),
            min_factor=1,
            strict=True,
        )
    except ValueError as error:
        raise JpegError(str(error)) from error
    return pixels
