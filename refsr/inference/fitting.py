"""Photos of any size in the squares that networks take, with NumPy and Pillow alone."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image


def sizes(config: Mapping[str, Any]) -> tuple[int, int]:
    """The sides of the square LR image a model takes and of the HR image it gives, pixels."""
    return int(config["hr_size"]) // int(config["scale"]), int(config["hr_size"])


def fit(image: np.ndarray, side: int) -> np.ndarray:
    """(h, w, 3) uint8 -> (3, side, side) float32 in [0, 1], of 8-bit values.

    The longer side fits, the other is filled with the edge on both sides.
    """
    height, width = image.shape[:2]
    rows, columns = content(height, width, side)
    planes: np.ndarray = np.moveaxis(image, -1, 0).astype(np.float32)
    planes = resize(planes, rows.stop - rows.start, columns.stop - columns.start)
    planes = planes.clip(0, 255).round() / np.float32(255)
    edges = ((0, 0), (rows.start, side - rows.stop), (columns.start, side - columns.stop))
    return np.pad(planes, edges, mode="edge")


def resize(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    """(C, H, W) float32 -> (C, height, width): bicubic, antialiased where it reduces.

    It is the filter of `F.interpolate(..., mode="bicubic", antialias=True)`.
    """
    if planes.shape[1:] == (height, width):
        return planes
    size = (width, height)
    each = [Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC) for plane in planes]
    return np.stack([np.asarray(plane) for plane in each])


def content(height: int, width: int, side: int, scale: int = 1) -> tuple[slice, slice]:
    """Where `fit` puts an image in a square of `side`, in pixels `scale` times smaller."""
    inner = scaled(height, width, side)
    starts = [(side - length) // 2 for length in inner]
    rows, columns = (
        slice(start * scale, (start + length) * scale)
        for start, length in zip(starts, inner, strict=True)
    )
    return rows, columns


def scaled(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) of an image whose longer side is made `side`, at least one pixel each."""
    longer = max(height, width)
    return max(1, round(height * side / longer)), max(1, round(width * side / longer))
