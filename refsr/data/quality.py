"""One image: is it a whole JPEG of sane size, where is its face, how sharp is it, and what does it look like."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from refsr.io import jpeg
from refsr.io.limits import MAX_PIXELS

CHIP = 150  # side of the face chip the identity network takes, pixels
THUMB = 32  # side of the thumbnail by which copies are confirmed, pixels
MIN_SIDE = 32
_MINIATURE = 64  # side of the grey miniatures whose sharpness and hash are taken, pixels

# Eye centres, nose tip and mouth corners on a chip: dlib's mean face with its padding of 0.25 (get_face_chip_details).
_TEMPLATE = (
    np.array([[0.2255, 0.2160], [0.7548, 0.2160], [0.4901, 0.5156], [0.2541, 0.7802], [0.7261, 0.7802]]) + 0.25
) * (CHIP / 1.5)
CHIP_FACTOR = 1.25  # side of a chip over the longer side of the face box, about
FACE = 100.0  # longer side of a face, pixels, from which on a chip is not enlarged
_COMPLEX = np.array([1, 1j])
_NOSE_DEPTH = 0.6  # nose tip before the plane of the eyes, in distances between the eyes


class Reject(Exception):  # noqa: N818 - a verdict, not an error
    """An image that cannot be used: the reason (see manifest.REASONS), what was measured, and words."""

    def __init__(self, reason: str, value: float = float("nan"), detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.value, self.detail = reason, value, detail


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG from its header, nothing decoded. Raises Reject where it is not whole or not sane."""
    if not data:
        raise Reject("zero_byte", 0.0)
    if not data.startswith(b"\xff\xd8"):
        raise Reject("not_jpeg", detail=f"begins with {data[:4].hex(' ')}")
    try:
        size = jpeg.size(data)
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error
    if min(size) < MIN_SIDE:
        raise Reject("tiny", float(min(size)), f"{size[0]}x{size[1]} px; {MIN_SIDE} are needed")
    if size[0] * size[1] > MAX_PIXELS:
        raise Reject("oversized", float(size[0] * size[1]), f"{size[0]}x{size[1]} px; at most {MAX_PIXELS} are decoded")
    try:
        jpeg.check_cost(data, size[0] * size[1])
    except jpeg.JpegCostError as error:
        raise Reject("costly", float(error.scans), str(error)) from error
    return size


def clamp_boxes(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The parts of boxes (N, 4: x, y, w, h) within images of `sizes` (N, 2: width, height).

    Where a box lies outside, its width or height is not positive.
    """
    start, end = np.maximum(boxes[:, :2], 0), np.minimum(boxes[:, :2] + boxes[:, 2:], sizes)
    return np.concatenate([start, end - start], axis=1)


def decode(data: bytes, shrink: float) -> tuple[np.ndarray, int]:
    """(image (H, W, 3) uint8 RGB, reduction): reduced 8, 4 or 2 times if `shrink`, how far it may be, is that much.

    The reduction happens in the JPEG's own cosine domain, which is quicker and antialiased. EXIF rotation is ignored,
    since boxes and landmarks are told in stored pixels. Raises Reject where the data does not decode.
    """
    reduction = 8 if shrink >= 8 else 4 if shrink >= 4 else 2 if shrink >= 2 else 1
    try:
        return jpeg.decode(data, reduction), reduction
    except jpeg.JpegError as error:
        raise Reject("truncated", float(len(data)), str(error)) from error


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
