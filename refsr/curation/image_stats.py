"""Measures of images: luminance, sharpness, difference hash and thumbnail."""

import cv2
import numpy as np

THUMB = 32  # pixels, side of the thumbnail by which copies are confirmed
_MINIATURE = 64  # pixels, side of the grey miniatures that are hashed and whose sharpness counts


def luminance(images: np.ndarray) -> np.ndarray:
    """(..., H, W, 3) uint8 RGB -> (..., H, W) uint8, BT.601."""
    rows = images.reshape(-1, *images.shape[-2:])  # one image below another
    return np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)).reshape(images.shape[:-1])


def miniatures(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB -> (N, 64, 64) uint8: luminance, averaged over boxes, never enlarged.

    Measures of them do not depend on the size of an image of at least 64 pixels.
    """
    height, width = images.shape[1:3]
    return _shrunk(luminance(images), min(height, _MINIATURE), min(width, _MINIATURE))


def _shrunk(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, H, W) uint8 -> (N, height, width): means over boxes.

    All images are resized as one column; no box reaches into the next image.
    """
    column = grey.reshape(-1, grey.shape[2])
    small = cv2.resize(column, (width, len(grey) * height), interpolation=cv2.INTER_AREA)
    return np.asarray(small).reshape(-1, height, width)


def sharpness(grey: np.ndarray) -> np.ndarray:
    """`miniatures` (N, h, w) -> (N,), 0 to 1: the share of variation that a 5 x 5 blur removes.

    A blurred image loses little by another blur, also if it is dim or has few edges (Crété et al.,
    "The Blur Effect", 2007).
    """
    variation = [(_variation(image), _blurred_variation(image)) for image in grey]
    before, after = np.array(variation).reshape(-1, 2).T
    rest = np.divide(after, before, out=np.ones(len(grey)), where=before > 0)
    return np.asarray(np.maximum(0, 1 - rest))


def _variation(grey: np.ndarray) -> float:
    vertical = cv2.norm(grey[1:], grey[:-1], cv2.NORM_L1)
    horizontal = cv2.norm(grey[:, 1:], grey[:, :-1], cv2.NORM_L1)
    return float(vertical + horizontal)


def _blurred_variation(grey: np.ndarray) -> float:
    sums = cv2.boxFilter(grey, cv2.CV_16U, (5, 5), normalize=False)
    return _variation(sums) / 25


def difference_hash(grey: np.ndarray) -> np.ndarray:
    """`miniatures` (N, h, w) -> (N,) uint64.

    Each bit says whether one of 8 x 8 cells is brighter than its right neighbour.
    """
    cells = _shrunk(grey, 8, 9)
    bits = np.packbits(cells[:, :, :-1] > cells[:, :, 1:])
    return bits.view(">u8").astype(np.uint64)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (32, 32) uint8 luminance: each pixel is the mean of four samples.

    This suffices to recognise a copy; means over all pixels take longer.
    """
    side = 2 * THUMB
    spots = cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(_shrunk(luminance(spots)[None], THUMB, THUMB)[0])
