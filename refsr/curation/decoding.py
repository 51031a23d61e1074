"""Decode one image: sizes and costs are checked before a pixel is decoded."""

import cv2
import numpy as np

from refsr.io import jpeg, pictures
from refsr.io.limits import MAX_PIXELS

MIN_SIDE = 32


class Reject(Exception):  # noqa: N818 - a verdict, not an error
    """An image that cannot be used: the reason (see manifest.REASONS), what was measured, and words."""

    def __init__(self, reason: str, value: float = float("nan"), detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.value, self.detail = reason, value, detail


_JPEG = b"\xff\xd8"


def image_size(data: bytes, *, any_format: bool = False) -> tuple[int, int]:
    """(width, height) from the header, nothing decoded; of a JPEG, or with `any_format` of a PNG, WebP or BMP too.

    Raises Reject where it is not whole or not sane.
    """
    if not data:
        raise Reject("zero_byte", 0.0)
    is_jpeg = data.startswith(_JPEG)
    if not is_jpeg and not any_format:
        raise _unknown(data)
    try:
        size = jpeg.size(data) if is_jpeg else pictures.size(data)
    except pictures.UnknownError as error:
        raise _unknown(data) from error
    except pictures.TooLargeError as error:
        raise Reject("oversized", detail=f"more than the {MAX_PIXELS} px that are decoded") from error
    except (jpeg.JpegError, pictures.PictureError) as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
    if min(size) < MIN_SIDE:
        raise Reject("tiny", float(min(size)), f"{size[0]}x{size[1]} px; {MIN_SIDE} are needed")
    if size[0] * size[1] > MAX_PIXELS:
        raise Reject("oversized", float(size[0] * size[1]), f"{size[0]}x{size[1]} px; at most {MAX_PIXELS} are decoded")
    if not is_jpeg:
        return size
    try:
        jpeg.check_cost(data, size[0] * size[1])
    except jpeg.JpegCostError as error:
        raise Reject("costly", float(error.scans), str(error)) from error
    return size


def decode(data: bytes, shrink: float) -> tuple[np.ndarray, int]:
    """(image (H, W, 3) uint8 RGB, reduction): reduced 8, 4 or 2 times if `shrink`, how far it may be, is that much.

    The reduction happens in a JPEG's own cosine domain, which is quicker and antialiased. EXIF rotation is ignored,
    since boxes and landmarks are told in stored pixels. Raises Reject where the data does not decode.
    """
    reduction = 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1
    try:
        if data.startswith(_JPEG):
            return jpeg.decode(data, reduction), reduction
        return _reduced(np.array(pictures.decode(data)), reduction), reduction
    except pictures.UnknownError as error:
        raise _unknown(data) from error
    except (jpeg.JpegError, pictures.PictureError) as error:
        raise Reject("truncated", float(len(data)), str(error)) from error


def _unknown(data: bytes) -> Reject:
    return Reject("not_jpeg", detail=f"begins with {data[:4].hex(' ')}")


def _reduced(image: np.ndarray, reduction: int) -> np.ndarray:
    """The sides divided, rounded up, as a JPEG's are."""
    if reduction == 1:
        return image
    height, width = (-(-side // reduction) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
