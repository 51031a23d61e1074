"""Numbers that say what a small face looks like: what the service logs, and drift is seen by.

JPEG shows in `noise` and `colour_detail`. A measure of its blocks is none of them: 16 pixels hold
one edge of a block, and that of a JPEG of quality 30 is no stronger there than others.
"""

from typing import NamedTuple

import cv2
import numpy as np

from refsr.curation.image_stats import luminance, sharpness
from refsr.inference.fitting import fit

_LAPLACE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_SCALE = 6 * 0.6745  # of its median absolute answer to noise of standard deviation 1


class Statistic(NamedTuple):
    """What one of the numbers means."""

    title: str
    unit: str
    meaning: str


_LEVELS = "levels of 255"
STATISTICS = {
    "brightness": Statistic("Brightness", _LEVELS, "mean luminance (BT.601)"),
    "contrast": Statistic("Contrast", _LEVELS, "standard deviation of the luminance"),
    "warmth": Statistic("Warmth", _LEVELS, "mean of red less mean of blue"),
    "tint": Statistic("Tint", _LEVELS, "mean of green less that of red and blue"),
    "sharpness": Statistic("Sharpness", "0 to 1", "variation that a 5 x 5 blur removes"),
    "noise": Statistic("Fine detail", _LEVELS, "noise and texture, by a Laplacian (Immerkaer)"),
    "colour_detail": Statistic(
        "Colour detail", "ratio", "differences of neighbours in colour by those in luminance"
    ),
}


def image_statistics(face: np.ndarray, side: int) -> dict[str, float]:
    """The numbers of a face as the network gets it; they depend on its size.

    Args:
        face: (h, w, 3) uint8 RGB, a square crop of any size as `upscale` takes it.
        side: The network's LR size, to which the crop is fitted first.

    Returns:
        Of each of STATISTICS the value, rounded to four decimals.
    """
    lr = (fit(face, side) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    grey = luminance(lr)
    mean, deviation = cv2.meanStdDev(grey)
    red, green, blue = cv2.mean(lr)[:3]
    values = {
        "brightness": mean.item(),
        "contrast": deviation.item(),
        "warmth": red - blue,
        "tint": green - (red + blue) / 2,
        "sharpness": sharpness(grey[None]).item(),
        "noise": _noise(grey),
        "colour_detail": _colour_detail(lr),
    }
    return {name: round(value, 4) for name, value in values.items()}


def _noise(grey: np.ndarray) -> float:
    """By the median, which edges of the face move little."""
    answer = cv2.filter2D(grey, cv2.CV_32F, _LAPLACE)[1:-1, 1:-1]
    return float(np.median(np.abs(answer))) / _SCALE if answer.size else 0.0


def _colour_detail(lr: np.ndarray) -> float:
    """JPEG keeps half the resolution of colour, or less; a flat image has none."""
    planes = cv2.cvtColor(lr, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    across, down = (np.abs(np.diff(planes, axis=axis)).sum((0, 1)) for axis in (0, 1))
    luma, red, blue = (across + down).tolist()
    return (red + blue) / (2 * luma) if luma else 0.0
