"""Put an enlarged face back into the enlarged photo, without a seam."""

import cv2
import numpy as np

from refsr.curation.alignment import centred, resample
from refsr.inference.faces import Square

_WHOLE = 0.7  # of the way from the middle of the square to its edge: the face alone
_POWER = 4  # of the rounded square that is pasted; 2 is a circle


def paste(
    canvas: np.ndarray, face: np.ndarray, square: Square, scale: float, *, soft: bool = True
) -> None:
    """Lay a face over the photo that it was cut from.

    Args:
        canvas: (H * scale, W * scale, 3) uint8, the photo enlarged; changed in place.
        face: (n, n, 3) uint8, the enlarged square.
        square: Where it was cut.
        scale: How many times the photo was enlarged.
        soft: Whether the square fades out to its edge.
    """
    side = round(square.side * scale)
    if len(face) != side:
        face = resample(face, side, side)
    back = cv2.invertAffineTransform(square.turn)
    back[:, 2] *= scale  # from pixels of the enlarged square to those of the canvas
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ back[:, :2].T + back[:, 2]
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)), canvas.shape[1::-1]).astype(int)
    if (high <= low).any():
        return
    back[:, 2] -= low
    size, matrix = tuple((high - low).tolist()), centred(back)
    edge = cv2.BORDER_REPLICATE
    laid = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_CUBIC, borderMode=edge)
    mask = soft_mask(side) if soft else np.ones((side, side), np.float32)
    share = cv2.warpAffine(mask, matrix, size)[..., None]
    region = canvas[low[1] : high[1], low[0] : high[0]]
    mixed = region + share * (laid.astype(np.float32) - region)
    region[:] = mixed.round().clip(0, 255).astype(np.uint8)


def soft_mask(side: int) -> np.ndarray:
    """(side, side) float32: 1 over the face, falling smoothly to 0 at the edge of the square."""
    along = np.abs((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1) ** _POWER
    radius = (along[:, None] + along[None]) ** (1 / _POWER)
    inward = ((1 - radius) / (1 - _WHOLE)).clip(0, 1)
    smooth: np.ndarray = inward * inward * (3 - 2 * inward)
    return smooth
