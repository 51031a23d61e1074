"""Crop a face by its box, or aligned by its five landmarks; estimate the yaw of the head."""

import math
from collections.abc import Iterator, Sequence

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
_DENSITY = 1.5  # of an image that is turned: pixels along one of its crop
_MOST = 4  # sides of the crop, to which an image with landmarks in nearly one place is resampled
_MARGIN = 3  # pixels around a crop, or of the crop, that its resampling and turning may read
_NOSE_DEPTH = 0.6  # of the nose tip before the plane of the eyes, in distances between the eyes


def clamp_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The parts of boxes (N, 4: x, y, w, h) within images of `sizes` (N, 2: width, height).

    Width or height of a box that lies outside is not positive.
    """
    start = np.maximum(boxes[:, :2], 0)
    end = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    return np.concatenate([start, end - start], axis=1)


def resample(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize (H, W, C) uint8 to (height, width, C) uint8 by Keys's bicubic (a = -0.5).

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


def aligned_crops(
    images: Sequence[np.ndarray], points: np.ndarray, factor: float, size: int
) -> Iterator[np.ndarray]:
    """Crop faces, turned and scaled so that their landmarks match those of dlib's mean face.

    An image is first resampled to _DENSITY times the crop's scale, as far as the crop reaches, then
    turned by bilinear interpolation. This is closer to exact bicubic resampling than bicubic
    interpolation is, and takes less time.

    Args:
        images: N of (H, W, 3) uint8.
        points: (N, 5, 2) landmarks in pixels.
        factor: Approximately as in `square_crop`; 1.25 has the margin of a `face_chip`.
        size: Side of the results, in pixels.

    Returns:
        N of (size, size, 3) uint8; pixels outside the image are its reflection.
    """
    for image, matrix in zip(images, _aligning(points, factor, size), strict=True):
        scale = math.hypot(*matrix[0, :2])
        part, seen = _seen(image, matrix, size, _MARGIN / min(1, scale))
        height, width = part.shape[:2]
        dense = (round(side * scale * _DENSITY) for side in (width, height))
        sides = (min(max(2, side), _MOST * size) for side in dense)
        yield _turned(part, resample(_four_channels(part), *sides), seen, size)


def _turned(image: np.ndarray, resized: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """What `warp` makes of an image, taken bilinearly from it resized, with four channels."""
    (height, width), (rows, columns) = image.shape[:2], resized.shape[:2]
    turn = centred(matrix / (columns / width, rows / height, 1))
    border = cv2.BORDER_REFLECT_101
    warped = cv2.warpAffine(resized, turn, (size, size), borderMode=border)
    return np.asarray(cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB))


def _four_channels(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 4), which cv2 and torch resample in less time."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA))


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The square (size, size, 3) that a map (2, 3) makes of an image; beyond is its reflection."""
    height, width = image.shape[:2]
    if 1 in (height, width):  # OpenCV would never end
        image = cv2.resize(image, (max(2, width), max(2, height)), interpolation=cv2.INTER_NEAREST)
    cubic, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    warped = cv2.warpAffine(image, centred(matrix), (size, size), flags=cubic, borderMode=border)
    return np.asarray(warped)


def centred(matrix: np.ndarray) -> np.ndarray:
    """A map (2, 3) as OpenCV counts: the middle of the first pixel is at 0, not at 0.5."""
    (a, b, x), (c, d, y) = matrix.tolist()
    return np.array([[a, b, x + (a + b - 1) / 2], [c, d, y + (c + d - 1) / 2]])


def _seen(
    image: np.ndarray, matrix: np.ndarray, size: int, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """The part of an image that a crop by a similarity (2, 3) shows, with a margin.

    It is never empty. Also returns the matrix of the same crop of the part.
    """
    # Python's own numbers take a fifth of NumPy's time for so few.
    (a, _, x), (b, _, y) = matrix.tolist()
    turn, shift = complex(a, b), complex(x, y)
    middle = (size / 2 * (1 + 1j) - shift) / turn
    reach = size / 2 * (abs(a) + abs(b)) / abs(turn) ** 2 + margin
    left, right = _clipped(middle.real, reach, image.shape[1])
    top, bottom = _clipped(middle.imag, reach, image.shape[0])
    shift += turn * complex(left, top)
    return image[top:bottom, left:right], np.array([[a, -b, shift.real], [b, a, shift.imag]])


def _clipped(middle: float, reach: float, length: int) -> tuple[int, int]:
    """Start and end of the pixels of a side that are so near; at least one."""
    start = min(max(math.floor(middle - reach), 0), length - 1)
    return start, max(start + 1, min(math.ceil(middle + reach), length))


def crop_points(
    boxes: np.ndarray, points: np.ndarray, kind: str, factor: float, size: int
) -> np.ndarray:
    """Where landmarks lie in the crops of `square_crop` or `aligned_crops`, in their pixels.

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
        usable = np.where(is_placed(points)[:, None, None], points, np.nan)
        matrices = _aligning(usable, factor, size)
        turned: np.ndarray = usable @ matrices[..., :2].mT + matrices[:, None, :, 2]
        return turned
    side = np.maximum(2, np.round(factor * boxes[:, 2:].max(axis=1)))
    corner = np.round(boxes[:, :2] + (boxes[:, 2:] - side[:, None]) / 2)
    placed: np.ndarray = (points - corner[:, None]) * (size / side)[:, None, None]
    return placed


def _aligning(points: np.ndarray, factor: float, size: int) -> np.ndarray:
    """The maps (N, 2, 3) of aligned crops of faces with landmarks (N, 5, 2)."""
    target = _TEMPLATE * (CHIP_FACTOR / factor) + CHIP / 2 * (1 - CHIP_FACTOR / factor)
    return similarity(points, target) * (size / CHIP)


def face_chip(image: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The input of the identity network, (150, 150, 3) uint8.

    The face is turned and scaled so that its landmarks (5, 2) match those of dlib's mean face, and
    interpolated bilinearly, as dlib does. Without landmarks (NaN) it is the square around the box.
    """
    if not is_placed(points):
        return square_crop(image, box, CHIP_FACTOR, CHIP)
    matrix = similarity(points, _TEMPLATE)
    coarse = max(1, int(1 / np.hypot(*matrix[0, :2])))
    part, seen = _seen(image, matrix, CHIP, _MARGIN * coarse)
    smaller = [max(2, side // coarse) for side in part.shape[1::-1]]
    # If it shrinks, the interpolation would skip pixels.
    resized = part if coarse == 1 else cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
    return _turned(part, _four_channels(resized), seen, CHIP)


def is_placed(points: np.ndarray) -> np.ndarray:
    """Whether landmarks (..., 5, 2) are known, and not all in one place: (...)."""
    known = np.isfinite(points).all(axis=(-2, -1))
    return np.asarray(known & (np.ptp(points, axis=-2).max(axis=-1) >= 1))


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift (..., 2, 3) that map points to target, by least squares.

    With points as complex numbers, rotation and scale are one factor, in closed form.

    Args:
        points: (..., N, 2).
        target: (N, 2).
    """
    middle = points.mean(axis=-2)
    (x, y), goal = np.moveaxis(points - middle[..., None, :], -1, 0), target.T
    length = (x * x + y * y).sum(axis=-1)
    real = (x * goal[0] + y * goal[1]).sum(axis=-1) / length
    imaginary = (x * goal[1] - y * goal[0]).sum(axis=-1) / length
    turn = np.stack([real, -imaginary, imaginary, real], axis=-1).reshape(*middle.shape, 2)
    shift = target.mean(axis=0)[:, None] - turn @ middle[..., None]
    return np.concatenate([turn, shift], axis=-1)


def head_yaw(points: np.ndarray) -> np.ndarray:
    """Yaw in degrees (N,) of landmarks (N, 5, 2): 0 is frontal; positive, the nose points right.

    It comes from the nose's offset from the middle of the eyes, relative to the distance of the
    eyes, both across the line from eyes to mouth. NaN if a landmark is NaN.
    """
    eye, other, nose, left, right = points.swapaxes(0, 1)
    eyes = (eye + other) / 2
    down = (left + right) / 2 - eyes
    offset, span = (_across(vector, down) for vector in (nose - eyes, other - eye))
    return np.asarray(np.degrees(np.arctan2(offset, _NOSE_DEPTH * np.maximum(span, 0))))


def _across(vectors: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The parts of vectors (N, 2) across others, to the right, times the length of the others."""
    return np.asarray(vectors[:, 0] * down[:, 1] - vectors[:, 1] * down[:, 0])
