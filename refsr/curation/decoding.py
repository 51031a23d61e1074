"""Decode one image; its size and cost are checked before any pixel is decoded."""

import cv2
import numpy as np

from refsr.io import jpeg, pictures
from refsr.io.limits import MAX_PIXELS

MIN_SIDE = 32
_JPEG = b"\xff\xd8"


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


def image_size(data: bytes, *, any_format: bool = False) -> tuple[int, int]:
    """(width, height) of a JPEG, as stored, from its header; nothing is decoded.

    With `any_format` also of a PNG, WebP, BMP, AVIF or HEIF.

    Raises:
        Reject: The file is no complete image, or its size or cost exceeds a limit.
    """
    if not data:
        raise Reject("zero_byte", 0.0)
    is_jpeg = data.startswith(_JPEG)
    if not is_jpeg and not any_format:
        raise _unknown(data)
    size = _header_size(data, is_jpeg)
    _check_size(*size)
    if is_jpeg:
        _check_cost(data, size[0] * size[1])
    return size


def _header_size(data: bytes, is_jpeg: bool) -> tuple[int, int]:
    try:
        return jpeg.size(data) if is_jpeg else pictures.size(data)
    except pictures.UnknownError as error:
        raise _unknown(data, str(error)) from error
    except pictures.TooLargeError as error:
        detail = f"more than the {MAX_PIXELS} px that are decoded"
        raise Reject("oversized", detail=detail) from error
    except (jpeg.JpegError, pictures.PictureError) as error:
        raise Reject("truncated", float(len(data)), str(error)) from error


def _check_cost(data: bytes, pixels: int) -> None:
    try:
        jpeg.check_cost(data, pixels)
    except jpeg.JpegCostError as error:
        raise Reject("costly", float(error.scans), str(error)) from error


def _check_size(width: int, height: int) -> None:
    shorter, pixels = min(width, height), width * height
    if shorter < MIN_SIDE:
        detail = f"{width}x{height} px; {MIN_SIDE} are needed"
        raise Reject("tiny", float(shorter), detail)
    if pixels > MAX_PIXELS:
        detail = f"{width}x{height} px; at most {MAX_PIXELS} are decoded"
        raise Reject("oversized", float(pixels), detail)


def decode(
    data: bytes, shrink: float, orientation: int = pictures.UPRIGHT
) -> tuple[np.ndarray, int]:
    """Decode an image, reduced by the largest of 1, 2, 4 and 8 that is not above `shrink`.

    The reduction happens in a JPEG's own cosine domain, which is quicker and antialiased. The image
    is turned upright by `orientation`, that of `pictures.orientation`; boxes and landmarks of box
    files are in stored pixels, so that for these it is left out.

    Returns:
        The image (H, W, 3) uint8 RGB, and the reduction.

    Raises:
        Reject: The data does not decode.
    """
    reduction = 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1
    try:
        if data.startswith(_JPEG):
            image = jpeg.decode(data, reduction)
        else:
            image = _reduced(np.array(pictures.decode(data)), reduction)
        return pictures.upright(image, orientation), reduction
    except pictures.UnknownError as error:
        raise _unknown(data, str(error)) from error
    except (jpeg.JpegError, pictures.PictureError) as error:
        raise Reject("truncated", float(len(data)), str(error)) from error


def _unknown(data: bytes, missing: str = "") -> Reject:
    return Reject("not_jpeg", detail=missing or f"begins with {data[:4].hex(' ')}")


def _reduced(image: np.ndarray, reduction: int) -> np.ndarray:
    """The sides divided, rounded up, as those of a JPEG."""
    if reduction == 1:
        return image
    height, width = (-(-side // reduction) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small)
