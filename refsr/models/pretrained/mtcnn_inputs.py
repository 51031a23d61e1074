"""The inputs of MTCNN's networks: an image at every size, and its parts within boxes.

All come from sums over the image's pixels, so that their cost does not depend on its size.
"""

from typing import NamedTuple

import numpy as np
import torch

STEP = 0.709  # from one size at which faces are sought to the next
CELL, STRIDE = 12, 2  # of the first network, pixels


class Level(NamedTuple):
    """One size of an image, and where it lies in the canvas: at even pixels, as cells do."""

    scale: float
    height: int
    width: int
    top: int
    left: int


def levels(height: int, width: int, smallest: float) -> list[Level]:
    """The sizes at which faces are sought, in columns: below one another as long as they fit."""
    pyramid: list[Level] = []
    scale, top, left, right = CELL / smallest, 0, 0, 0
    while min(height, width) * scale >= CELL:
        rows, columns = int(height * scale + 1), int(width * scale + 1)
        if pyramid and top + rows > pyramid[0].height:
            top, left = 0, right
        pyramid.append(Level(scale, rows, columns, top, left))
        top, right = top + _even(rows), max(right, left + _even(columns))
        scale *= STEP
    return pyramid


def _even(side: int) -> int:
    return side + side % STRIDE


def canvas(sums: np.ndarray, pyramid: list[Level]) -> torch.Tensor:
    """All sizes of an image side by side: (1, 3, H, W)."""
    width = max(level.left + _even(level.width) for level in pyramid)
    pixels = np.zeros((1, _even(pyramid[0].height), width, 3), np.float32)
    whole = np.array([[1, 1, sums.shape[1] - 1, sums.shape[0] - 1]])
    for _, rows, columns, top, left in pyramid:
        pixels[0, top : top + rows, left : left + columns] = _averages(sums, whole, rows, columns)
    return _as_input(pixels)


def cells(level: Level) -> tuple[slice, slice]:
    """The cells of the first network's output that see this level alone."""
    rows, columns = (_even(side - CELL) // STRIDE + 1 for side in (level.height, level.width))
    top, left = level.top // STRIDE, level.left // STRIDE
    return slice(top, top + rows), slice(left, left + columns)


def cut(sums: np.ndarray, boxes: np.ndarray, size: int) -> torch.Tensor:
    """The image within the boxes, reduced to (N, 3, size, size); black beyond its border."""
    return _as_input(_averages(sums, boxes.astype(int), size, size))


def _averages(sums: np.ndarray, boxes: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The image within N boxes, reduced as by torch's mode "area": (N, rows, columns, 3).

    `sums` (H + 1, W + 1, 3) holds the sums of all pixels above and to the left.
    """
    height, width = sums.shape[0] - 1, sums.shape[1] - 1
    top, bottom = _windows(boxes[:, 1] - 1, boxes[:, 3], rows)
    left, right = _windows(boxes[:, 0] - 1, boxes[:, 2], columns)
    area = (bottom - top)[:, :, None] * (right - left)[:, None]
    above, below = (y.clip(0, height)[:, :, None] * (width + 1) for y in (top, bottom))
    before, after = (x.clip(0, width)[:, None] for x in (left, right))
    flat = sums.reshape(-1, 3)
    total = flat.take(below + after, axis=0)
    total -= flat.take(below + before, axis=0)
    total -= flat.take(above + after, axis=0)
    total += flat.take(above + before, axis=0)
    return np.asarray(total / area[..., None], np.float32)


def _windows(start: np.ndarray, end: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, count) first pixels and ends of windows that divide N ranges."""
    side, steps = (end - start)[:, None], np.arange(count + 1)
    start = start[:, None]
    return start + side * steps[:-1] // count, start - (-side * steps[1:] // count)


def _as_input(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, 3) of 0 to 255 -> (N, 3, H, W), colours adjacent, which is quicker by half."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2) - 127.5) / 128
