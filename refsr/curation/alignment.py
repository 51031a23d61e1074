"""Crop a face by its box, or aligned by its five landmarks; estimate the yaw of the head."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

CHIP = 150  # pixels, side of the face chip the identity network takes

# Eye centres, nose tip and mouth corners of dlib's mean face (get_face_chip_details).
_MEAN_FACE = np.array(
    [
        [0.2255, 0.2160],
        [0.7548, 0.2160],
        [0.4901, 0.5156],
        [0.2541, 0.7802],
        [0.7261, 0.7802],
    ]
)
_TEMPLATE = (_MEAN_FACE + 0.25) * (CHIP / 1.5)  # on a chip, with dlib's padding of 0.25
CHIP_FACTOR = 1.25  # approximate side of a chip over the longer side of the face box
FACE = 100.0  # pixels, longer side of a face from which on a chip is not enlarged
_MARGIN = 4  # pixels of a crop around it that its bicubic resampling and interpolation may read
_COMPLEX = np.array([1, 1j])
_NOSE_DEPTH = 0.6  # of the nose tip before the plane of the eyes, in distances between the eyes


def clamp_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The parts of boxes (N, 4: x, y, w, h) within images of `sizes` (N, 2: width, height).

    Width or height of a box that lies outside is not positive.
    """
    start = np.maximum(boxes[:, :2], 0)
    end = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    return np.concatenate([start, end - start], axis=1)


def resample(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, 3) uint8 to (height, width, 3) uint8 by Keys's bicubic (a = -0.5).

    The support is widened where the image shrinks, which antialiases it as MATLAB's imresize and
    Pillow do. cv2's bicubic does not antialias, and its INTER_AREA takes twice the time.
    """
    # Torch takes longer to copy a part of an image. The batch axis is added by torch and before the
    # permutation, so that strides show the colours as adjacent, which torch's fast path needs.
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    size = height, width
    small = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
    return np.ascontiguousarray(small.numpy()[0].transpose(1, 2, 0))


def square_crop(image: np.ndarray, box: np.ndarray, factor: float, size: int) -> np.ndarray:
    """Crop the square around the centre of a box.

    Args:
        image: (H, W, 3) uint8.
        box: (4,) x, y, w, h in pixels.
        factor: Side of the square over the longer side of the box.
        size: Side of the result, in pixels.

    Returns:
        (size, size, 3) uint8; pixels outside the image are its reflection.
    """
    x, y, w, h = box.tolist()
    side = max(2, round(factor * max(w, h)))
    left, top = round(x + (w - side) / 2), round(y + (h - side) / 2)
    height, width = image.shape[:2]
    bottom, right = top + side, left + side
    inner = image[max(0, top) : min(height, bottom), max(0, left) : min(width, right)]
    margins = max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width)
    if any(margins):
        inner = cv2.copyMakeBorder(inner, *margins, cv2.BORDER_REFLECT_101)
    return resample(inner, size, size)


def aligned_crop(image: np.ndarray, points: np.ndarray, factor: float, size: int) -> np.ndarray:
    """Crop the face, turned and scaled so that its landmarks match those of dlib's mean face.

    An image that shrinks is first resampled to the crop's scale, as far as the crop reaches, then
    turned by plain bicubic interpolation.

    Args:
        image: (H, W, 3) uint8.
        points: (5, 2) landmarks in pixels.
        factor: Approximately as in `square_crop`; 1.25 has the margin of a `face_chip`.
        size: Side of the result, in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    matrix = _aligning(points, factor) * (size / CHIP)
    shrink = math.hypot(*matrix[0, :2])
    if shrink < 1:
        image, matrix = _seen(image, matrix, size, _MARGIN / shrink)
        image, matrix = _shrunk(image, matrix, shrink)
    cubic, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cubic, borderMode=border)
    return np.asarray(crop)


def _shrunk(image: np.ndarray, matrix: np.ndarray, shrink: float) -> tuple[np.ndarray, np.ndarray]:
    """An image resampled by a factor, and the matrix (2, 3) of the same crop of it."""
    height, width = image.shape[:2]
    small = resample(image, max(1, round(width * shrink)), max(1, round(height * shrink)))
    scale = small.shape[1] / width, small.shape[0] / height, 1
    return small, matrix / scale


def _seen(
    image: np.ndarray, matrix: np.ndarray, size: int, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image that a crop by a similarity (2, 3) shows, with a margin.

    It is never empty. Also returns the matrix of the same crop of the part.
    """
    turn, shift = (complex(*column) for column in matrix.T[[0, 2]].tolist())
    middle = (size / 2 * (1 + 1j) - shift) / turn
    reach = size / 2 * (abs(turn.real) + abs(turn.imag)) / abs(turn) ** 2 + margin
    left, right = _clipped(middle.real, reach, image.shape[1])
    top, bottom = _clipped(middle.imag, reach, image.shape[0])
    part = image[top:bottom, left:right]
    return part, _matrix(turn, shift + turn * complex(left, top))


def _clipped(middle: float, reach: float, length: int) -> tuple[int, int]:
    """Start and end of the pixels of a side that are so near; at least one."""
    start = min(max(math.floor(middle - reach), 0), length - 1)
    return start, max(start + 1, min(math.ceil(middle + reach), length))


def crop_points(
    boxes: np.ndarray, points: np.ndarray, kind: str, factor: float, size: int
) -> np.ndarray:
    """Where landmarks lie in the crops of `square_crop` or `aligned_crop`, in their pixels.

    Args:
        boxes: (N, 4) x, y, w, h in pixels of the source.
        points: (N, 5, 2) in pixels of the source; NaN where unknown.
        kind: "loose" or "aligned", as `curate.crop`.
        factor: As for the crop.
        size: Side of the crops, in pixels.

    Returns:
        (N, 5, 2), NaN where box or landmarks are unknown.
    """
    if kind == "aligned":
        return np.array([_in_aligned_crop(face, factor, size) for face in points]).reshape(-1, 5, 2)
    side = np.maximum(2, np.round(factor * boxes[:, 2:].max(axis=1)))
    corner = np.round(boxes[:, :2] + (boxes[:, 2:] - side[:, None]) / 2)
    placed: np.ndarray = (points - corner[:, None]) * (size / side)[:, None, None]
    return placed


def _in_aligned_crop(points: np.ndarray, factor: float, size: int) -> np.ndarray:
    """`crop_points` of one face, aligned: (5, 2)."""
    if not is_placed(points):
        return np.full((5, 2), np.nan)
    matrix = _aligning(points, factor) * (size / CHIP)
    placed: np.ndarray = points @ matrix[:, :2].T + matrix[:, 2]
    return placed


def _aligning(points: np.ndarray, factor: float) -> np.ndarray:
    """The map (2, 3) of an aligned crop of side CHIP."""
    target = _TEMPLATE * (CHIP_FACTOR / factor) + CHIP / 2 * (1 - CHIP_FACTOR / factor)
    return similarity(points, target)


def face_chip(image: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The input of the identity network, (150, 150, 3) uint8.

    The face is turned and scaled so that its landmarks (5, 2) match those of dlib's mean face, and
    interpolated bilinearly, as dlib does. Without landmarks (NaN) it is the square around the box.
    """
    if not is_placed(points):
        return square_crop(image, box, CHIP_FACTOR, CHIP)
    matrix = similarity(points, _TEMPLATE)
    coarse = int(1 / np.hypot(matrix[0, 0], matrix[0, 1]))
    if coarse > 1:  # else the interpolation would skip pixels
        height, width = image.shape[:2]
        smaller = max(1, width // coarse), max(1, height // coarse)
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        matrix = matrix / (smaller[0] / width, smaller[1] / height, 1)
    # With a fourth channel cv2 takes half the time for the same pixels.
    four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    border = cv2.BORDER_REFLECT_101
    warped = cv2.warpAffine(four, matrix, (CHIP, CHIP), borderMode=border)
    chip: np.ndarray = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return chip


def is_placed(points: np.ndarray) -> bool:
    """Whether landmarks (5, 2) are known, and not all in one place."""
    return bool(np.isfinite(points).all() and np.ptp(points, axis=0).max() >= 1)


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift (2, 3) that map points (N, 2) to target (N, 2), least squares.

    With points as complex numbers, rotation and scale are one factor, in closed form.
    """
    source, goal = points @ _COMPLEX, target @ _COMPLEX
    middle = source.sum() / len(source)
    centred = source - middle
    turn = np.vdot(centred, goal) / np.vdot(centred, centred).real
    return _matrix(turn, goal.sum() / len(goal) - turn * middle)


def _matrix(turn: complex, shift: complex) -> np.ndarray:
    """The map (2, 3) that multiplies points, as complex numbers, and shifts them."""
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def head_yaw(points: np.ndarray) -> float:
    """Yaw in degrees from landmarks (5, 2): 0 is frontal; positive, the nose points to the right.

    It comes from the nose's offset from the middle of the eyes, relative to the distance of the
    eyes, both across the line from eyes to mouth. NaN if a landmark is NaN.
    """
    # Python's own numbers take a fifth of NumPy's time for so few.
    eye, other, nose, left, right = (complex(x, y) for x, y in points.tolist())
    eyes = (eye + other) / 2
    # The imaginary part of its product with a point is minus the point's distance across.
    upright = ((left + right) / 2 - eyes).conjugate()
    offset = -(upright * (nose - eyes)).imag
    span = -(upright * (other - eye)).imag
    depth = _NOSE_DEPTH * (0.0 if span <= 0 else span)
    return math.degrees(math.atan2(offset, depth))
