"""The features of images: columns of measures, thumbnails, face chips and crops."""

from collections.abc import Sequence

import numpy as np

from refsr.curation import image_stats
from refsr.curation.decoding import Reject
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.io import pictures
from refsr.layouts.base import BOX, LANDMARKS

COLOUR = ("red", "green", "blue")  # means over the crop
MEASURES = (
    "sha256",
    "lot",
    "width",
    "height",
    *BOX,
    *LANDMARKS,
    *CROP_LANDMARKS,
    "yaw",
    "sharpness",
    "dhash",
    *COLOUR,
    "face_probability",
)


class ImageFeatures:
    """Features of N images.

    columns: (N,) each: those of MEASURES, and `reason`, `value`, `detail`; NaN or 0 where unknown.
        The column `lot` holds the random key of an image, see `random_key`.
    boxes, points: (N, 4) and (N, 5, 2) float64, in pixels of the source; where faces are detected,
        of the source turned upright.
    turns: (N,) the EXIF orientation by which an image is turned upright; 1 where it is not.
    thumbs: (N, 32, 32) uint8, of the whole images; black for rejected ones. Where faces are
        detected (N, 2, 32, 32), of the whole images and of the chips.
    chips, crops: (150, 150, 3) and (hr_size, hr_size, 3) uint8 RGB by row, of images not rejected.
    """

    def __init__(self, boxes: np.ndarray, points: np.ndarray, *, detected: bool = False) -> None:
        count, self.detected = len(boxes), detected
        self.boxes, self.points = boxes.copy(), points.copy()
        self.turns = np.full(count, pictures.UPRIGHT)
        self.columns = {name: np.zeros(count, np.uint64) for name in ("lot", "dhash")}
        for name in ("reason", "detail", "sha256"):
            self.columns[name] = np.full(count, "", object)
        for name in ("value", *MEASURES):
            if name not in self.columns:
                self.columns[name] = np.full(count, np.nan)
        side = image_stats.THUMB
        views = (2,) if detected else ()
        self.thumbs = np.zeros((count, *views, side, side), np.uint8)
        self.chips: dict[int, np.ndarray] = {}
        self.crops: dict[int, np.ndarray] = {}

    def rows(self) -> list[int]:
        """Rows of the images that are not rejected."""
        reasons = self.columns["reason"]
        return [row for row, reason in enumerate(reasons) if not reason]

    def reject(self, row: int, fault: Reject) -> None:
        """Reject an image: only its columns are kept."""
        self.columns["reason"][row] = fault.reason
        self.columns["value"][row] = fault.value
        self.columns["detail"][row] = fault.detail
        self.thumbs[row] = 0
        self.chips.pop(row, None)
        self.crops.pop(row, None)


def join(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """Concatenate features in order; the result equals that of extracting all images at once."""
    whole = ImageFeatures(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.points for part in parts]),
    )
    for name in parts[0].columns:
        whole.columns[name] = np.concatenate([part.columns[name] for part in parts])
    whole.thumbs = np.concatenate([part.thumbs for part in parts])
    start = 0
    for part in parts:
        whole.chips |= {start + row: chip for row, chip in part.chips.items()}
        whole.crops |= {start + row: crop for row, crop in part.crops.items()}
        start += len(part.thumbs)
    return whole
