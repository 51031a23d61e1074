"""Decode one image: sizes and costs are checked before a pixel is decoded."""

import numpy as np

from refsr.io import jpeg
from refsr.io.limits import MAX_PIXELS

MIN_SIDE = 32


class Reject(Exception):  # noqa: N818 - a verdict, not an error
    """An image that cannot be used: the reason (see manifest.REASONS), what was measured, and words."""

    def __init__(self, reason: str, value: float = float("nan"), detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.value, self.detail = reason, value, detail


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG from its header, nothing decoded. Raises Reject where it is not whole or not sane."""
    if not data:
        raise Reject("zero_byte", 0.0)
    if not data.startswith(b"\xff\xd8"):
        raise Reject("not_jpeg", detail=f"begins with {data[:4].hex(' ')}")
    try:
        size = jpeg.size(data)
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
    if min(size) < MIN_SIDE:
        raise Reject("tiny", float(min(size)), f"{size[0]}x{size[1]} px; {MIN_SIDE} are needed")
    if size[0] * size[1] > MAX_PIXELS:
        raise Reject("oversized", float(size[0] * size[1]), f"{size[0]}x{size[1]} px; at most {MAX_PIXELS} are decoded")
    try:
        jpeg.check_cost(data, size[0] * size[1])
    except jpeg.JpegCostError as error:
        raise Reject("costly", float(error.scans), str(error)) from error
    return size


def decode(data: bytes, shrink: float) -> tuple[np.ndarray, int]:
    """(image (H, W, 3) uint8 RGB, reduction): reduced 8, 4 or 2 times if `shrink`, how far it may be, is that much.

    The reduction happens in the JPEG's own cosine domain, which is quicker and antialiased. EXIF rotation is ignored,
    since boxes and landmarks are told in stored pixels. Raises Reject where the data does not decode.
    """
    reduction = 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1
    try:
        return jpeg.decode(data, reduction), reduction
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
