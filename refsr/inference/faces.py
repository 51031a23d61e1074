"""The faces of a photo: where they are, and the squares that a network was trained on."""

from typing import NamedTuple

import numpy as np

from refsr.curation import alignment
from refsr.curation.detection import by_size_and_place
from refsr.curation.face_models import find_faces

_SHORTER, _LONGER = 256, 1280  # pixels of the detector's input, where MOST_ENLARGED allows
_MOST_ENLARGED = 8  # a face of 3 pixels is none
_SMALLEST = 20.0  # pixels of the detector's input
_UPRIGHT = np.radians(20)  # as heads tilt in the training crops; beyond, the crop is turned
_STEADY = 0.15  # of its side, by which a square of a video may be too large or small


class Face(NamedTuple):
    """A face of a photo, in pixels of the photo."""

    box: np.ndarray  # (4,) left, top, width, height
    points: np.ndarray  # (5, 2) eyes, nose tip, corners of the mouth


class Square(NamedTuple):
    """The square of a photo that a network receives.

    `turn` (2, 3) takes a place in the photo to one in the square. Both count pixels from the
    corner, so that the middle of the first pixel is at 0.5.
    """

    turn: np.ndarray
    side: int


def detect(photo: np.ndarray) -> list[Face]:
    """The faces of (H, W, 3) uint8 RGB, large and central ones first.

    A small photo is enlarged for the detector, a large one reduced.
    """
    height, width = photo.shape[:2]
    factor = min(max(1.0, _SHORTER / min(height, width)), _MOST_ENLARGED)
    factor = min(factor, max(_LONGER / max(height, width), 1 / _MOST_ENLARGED))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    boxes, points = find_faces(_resized(photo, size), _SMALLEST)
    stretch = np.array([width / size[0], height / size[1]])
    boxes, points = boxes * np.tile(stretch, 2), points * stretch
    order = by_size_and_place(boxes, width, height)
    return [Face(boxes[at], points[at]) for at in order]


def square_of(points: np.ndarray, usual: np.ndarray, usual_side: int | None = None) -> Square:
    """The square in which a face lies as faces do in training.

    Args:
        points: (5, 2) its landmarks.
        usual: (5, 2) the mean landmarks of the training crops, in [-1, 1].
        usual_side: In a video the side in the frame before; it stays while it nearly fits.

    Returns:
        It has whole pixels; it is turned only where the head tilts more than in training.
    """
    fitted = alignment.similarity(points, usual)
    side = max(2, round(2 / float(np.hypot(*fitted[:, 0]))))
    if usual_side and abs(side - usual_side) <= _STEADY * usual_side:
        side = usual_side
    angle = np.arctan2(fitted[1, 0], fitted[0, 0])
    middle = np.linalg.solve(fitted[:, :2], -fitted[:, 2])
    if abs(angle) <= _UPRIGHT:
        corner = np.round(middle - side / 2)
        return Square(np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]]), side)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Square(np.column_stack([turn, side / 2 - turn @ middle]), side)


def whole(photo: np.ndarray) -> Square:
    """The square around all of a photo that is a crop of a face already."""
    height, width = photo.shape[:2]
    side = max(height, width)
    shift = (side - width) // 2, (side - height) // 2
    return Square(np.array([[1.0, 0, shift[0]], [0, 1.0, shift[1]]]), side)


def cut(photo: np.ndarray, square: Square) -> np.ndarray:
    """The pixels of a square, (side, side, 3) uint8; beyond the photo is its reflection."""
    return alignment.warp(photo, square.turn, square.side)


def _resized(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3) of `size`: width, height."""
    return photo if photo.shape[1::-1] == size else alignment.resample(photo, *size)
