"""One image: is it a whole JPEG of sane size, where is its face, how sharp is it, and what does it look like."""

import cv2
import numpy as np

THUMB = 32  # side of the thumbnail by which copies are confirmed, pixels
_MINIATURE = 64  # side of the grey miniatures whose sharpness and hash are taken, pixels


def luminance(images: np.ndarray) -> np.ndarray:
    """(..., H, W, 3) uint8 RGB -> (..., H, W) uint8, BT.601."""
    rows = images.reshape(-1, *images.shape[-2:])  # one image below another
    return np.asarray(cv2.cvtColor(rows, cv2.COLOR_RGB2GRAY)).reshape(images.shape[:-1])


def miniatures(images: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB -> (N, 64, 64) uint8: their luminance, in means over boxes; no larger than it was.

    What is measured on them is the same for an image of any size from 64 pixels on.
    """
    height, width = images.shape[1:3]
    return _shrunk(luminance(images), min(height, _MINIATURE), min(width, _MINIATURE))


def _shrunk(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, H, W) uint8 -> (N, height, width): means over boxes; of all at once, none of which reaches into the next."""
    column = grey.reshape(-1, grey.shape[2])
    small = cv2.resize(column, (width, len(grey) * height), interpolation=cv2.INTER_AREA)
    return np.asarray(small).reshape(-1, height, width)


def sharpness(grey: np.ndarray) -> np.ndarray:
    """`miniatures` (N, h, w) -> (N,), 0 to 1: the share of the variation between pixels that a 5 x 5 blur takes away.

    What is blurred already loses little by another blur (Crété et al., "The Blur Effect", 2007), be it dim or have few
    edges.
    """
    variation = np.array([(_variation(image), _blurred_variation(image)) for image in grey]).reshape(-1, 2)
    before, after = variation.T
    return np.asarray(np.maximum(0, 1 - np.divide(after, before, out=np.ones(len(grey)), where=before > 0)))


def _variation(grey: np.ndarray) -> float:
    return float(cv2.norm(grey[1:], grey[:-1], cv2.NORM_L1) + cv2.norm(grey[:, 1:], grey[:, :-1], cv2.NORM_L1))


def _blurred_variation(grey: np.ndarray) -> float:
    return _variation(cv2.boxFilter(grey, cv2.CV_16U, (5, 5), normalize=False)) / 25


def difference_hash(grey: np.ndarray) -> np.ndarray:
    """`miniatures` (N, h, w) -> (N,) uint64: whether each of 8 x 8 cells is brighter than its right neighbour."""
    cells = _shrunk(grey, 8, 9)
    bits = np.packbits(cells[:, :, :-1] > cells[:, :, 1:])
    return bits.view(">u8").astype(np.uint64)


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (32, 32) uint8 luminance: each pixel the mean of four spots spread over its part.

    Enough to know a copy by; means over all pixels take longer.
    """
    spots = cv2.resize(image, (2 * THUMB, 2 * THUMB), interpolation=cv2.INTER_LINEAR)
    return np.asarray(_shrunk(luminance(spots)[None], THUMB, THUMB)[0])
