"""Crop one face: by its box, or aligned by its five landmarks; and the turn of the head."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

CHIP = 150  # side of the face chip the identity network takes, pixels

# Eye centres, nose tip and mouth corners on a chip: dlib's mean face with its padding of 0.25 (get_face_chip_details).
_TEMPLATE = (
    np.array([[0.2255, 0.2160], [0.7548, 0.2160], [0.4901, 0.5156], [0.2541, 0.7802], [0.7261, 0.7802]]) + 0.25
) * (CHIP / 1.5)
CHIP_FACTOR = 1.25  # side of a chip over the longer side of the face box, about
FACE = 100.0  # longer side of a face, pixels, from which on a chip is not enlarged
_COMPLEX = np.array([1, 1j])
_NOSE_DEPTH = 0.6  # nose tip before the plane of the eyes, in distances between the eyes


def clamp_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The parts of boxes (N, 4: x, y, w, h) within images of `sizes` (N, 2: width, height).

    Where a box lies outside, its width or height is not positive.
    """
    start, end = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    return np.concatenate([start, end - start], axis=1)


def resample(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3) uint8 by Keys's bicubic (a = -0.5), its support widened where it shrinks.

    So it is antialiased, in the manner of MATLAB's imresize and of Pillow; cv2's bicubic is not, and its INTER_AREA
    takes twice the time.
    """
    # Torch would copy a part of an image, too, and takes longer. With the batch's axis added by torch, and first, the
    # strides say that colours are together, and it stays quick.
    pixels = torch.from_numpy(np.ascontiguousarray(image))[None].permute(0, 3, 1, 2)
    small = F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return np.ascontiguousarray(small.numpy()[0].transpose(1, 2, 0))


def square_crop(image: np.ndarray, box: np.ndarray, factor: float, size: int) -> np.ndarray:
    """(size, size, 3): the square of side `factor` x the longer side of `box`, about its centre; see `resample`.

    What lies outside the image is its reflection.
    """
    x, y, w, h = box.tolist()
    side = max(2, round(factor * max(w, h)))
    left, top = round(x + (w - side) / 2), round(y + (h - side) / 2)
    height, width = image.shape[:2]
    inner = image[max(0, top) : min(height, top + side), max(0, left) : min(width, left + side)]
    margins = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(margins):
        inner = cv2.copyMakeBorder(inner, *margins, cv2.BORDER_REFLECT_101)
    return resample(inner, size, size)


def aligned_crop(image: np.ndarray, points: np.ndarray, factor: float, size: int) -> np.ndarray:
    """(size, size, 3): the face turned and scaled so that its landmarks (5, 2) lie as dlib's mean face has them.

    `factor` counts as in `square_crop`, about: at 1.25 there is as much around the face as on a `face_chip`. The image
    is first resampled to the crop's scale, where it is to shrink, and then turned by plain bicubic interpolation.
    """
    matrix = _similarity(points, _TEMPLATE * (CHIP_FACTOR / factor) + CHIP / 2 * (1 - CHIP_FACTOR / factor))
    matrix *= size / CHIP
    shrink = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    if shrink < 1:
        height, width = image.shape[:2]
        smaller = max(1, round(width * shrink)), max(1, round(height * shrink))
        image = resample(image, *smaller)
        matrix = matrix / (smaller[0] / width, smaller[1] / height, 1)
    crop: np.ndarray = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    return crop


def face_chip(image: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(150, 150, 3): the face turned and scaled so that its landmarks `points` (5, 2) lie as dlib's mean face has them.

    Without landmarks (NaN) it is the square about the box. Interpolated from the nearest pixels, as dlib does.
    """
    if not is_placed(points):
        return square_crop(image, box, CHIP_FACTOR, CHIP)
    matrix = _similarity(points, _TEMPLATE)
    coarse = int(1 / np.hypot(matrix[0, 0], matrix[0, 1]))
    if coarse > 1:  # else pixels between the ones looked at would be passed over
        height, width = image.shape[:2]
        smaller = max(1, width // coarse), max(1, height // coarse)
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)
        matrix = matrix / (smaller[0] / width, smaller[1] / height, 1)
    four = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)  # with a fourth channel cv2 gives the same pixels in half the time
    warped = cv2.warpAffine(four, matrix, (CHIP, CHIP), borderMode=cv2.BORDER_REFLECT_101)
    chip: np.ndarray = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
    return chip


def is_placed(points: np.ndarray) -> bool:
    """Whether landmarks (5, 2) are there, and not all in one place."""
    return bool(np.isfinite(points).all() and np.ptp(points, axis=0).max() >= 1)


def _similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2, 3): the turn, scale and shift that bring points (N, 2) nearest to target (N, 2); least squares, closed form.

    Each point as a complex number makes a turn and scale one factor.
    """
    source, goal = points @ _COMPLEX, target @ _COMPLEX
    middle = source.sum() / len(source)
    centred = source - middle
    turn = np.vdot(centred, goal) / np.vdot(centred, centred).real
    shift = goal.sum() / len(goal) - turn * middle
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def head_yaw(points: np.ndarray) -> float:
    """Landmarks (5, 2) -> degrees: 0 frontal, positive where the nose points to the right of the image; NaN of NaN.

    The nose's offset from between the eyes, against the distance of the eyes, both across the line from eyes to mouth.
    """
    # In Python's own numbers, in which so little is done in a fifth of the time.
    eye, other, nose, left, right = (complex(x, y) for x, y in points.tolist())
    eyes = (eye + other) / 2
    upright = ((left + right) / 2 - eyes).conjugate()  # times a point: how far across, as imaginary part, negative
    offset, span = -(upright * (nose - eyes)).imag, -(upright * (other - eye)).imag
    return math.degrees(math.atan2(offset, _NOSE_DEPTH * (0.0 if span <= 0 else span)))
