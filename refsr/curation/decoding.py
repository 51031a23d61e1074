"""Decode one image; its size and cost are checked before any pixel is decoded."""

import numpy as np

from refsr.io import jpeg
from refsr.io.limits import MAX_PIXELS

MIN_SIDE = 32


class Reject(Exception):  # noqa: N818 - a verdict, not an error
    """An image that cannot be used.

    Attributes:
        reason: One of schema.REASONS.
        value: The value measured; NaN where there is none.
        detail: The limit, in words.
    """

    def __init__(
        self,
        reason: str,
        value: float = float("nan"),
        detail: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason, self.value, self.detail = reason, value, detail


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG from its header; nothing is decoded.

    Raises:
        Reject: The file is no complete JPEG, or its size or cost exceeds a limit.
    """
    if not data:
        raise Reject("zero_byte", 0.0)
    if not data.startswith(b"\xff\xd8"):
        raise Reject("not_jpeg", detail=f"begins with {data[:4].hex(' ')}")
    try:
        size = jpeg.size(data)
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
    _check_size(*size)
    try:
        jpeg.check_cost(data, size[0] * size[1])
    except jpeg.JpegCostError as error:
        raise Reject("costly", float(error.scans), str(error)) from error
    return size


def _check_size(width: int, height: int) -> None:
    shorter, pixels = min(width, height), width * height
    if shorter < MIN_SIDE:
        detail = f"{width}x{height} px; {MIN_SIDE} are needed"
        raise Reject("tiny", float(shorter), detail)
    if pixels > MAX_PIXELS:
        detail = f"{width}x{height} px; at most {MAX_PIXELS} are decoded"
        raise Reject("oversized", float(pixels), detail)


def decode(data: bytes, shrink: float) -> tuple[np.ndarray, int]:
    """Decode a JPEG, reduced by the largest of 1, 2, 4 and 8 that is not above `shrink`.

    The reduction happens in the JPEG's own cosine domain, which is quicker and antialiased. EXIF
    rotation is ignored, since boxes and landmarks are in stored pixels.

    Returns:
        The image (H, W, 3) uint8 RGB, and the reduction.

    Raises:
        Reject: The data does not decode.
    """
    reduction = 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1
    try:
        return jpeg.decode(data, reduction), reduction
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
