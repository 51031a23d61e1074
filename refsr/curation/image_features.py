"""Extract features of images: check, decode, crop and hash them.

refsr.curation.extraction does this for whole identities.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from refsr.config import Curate
from refsr.curation import alignment, decoding, image_stats
from refsr.curation.decoding import Reject
from refsr.curation.detection import Detection, Notify, detect_faces
from refsr.curation.face_checks import face_checks
from refsr.curation.feature_columns import COLOUR, ImageFeatures
from refsr.dataset.schema import CROP_LANDMARKS
from refsr.io import pictures
from refsr.layouts.base import BOX, LANDMARKS

_BATCH_PIXELS = 6_000_000  # decoded at a time: 18 MB, which fit into the cores' shared cache


def extract_features(
    files: Sequence[bytes],
    boxes: np.ndarray,
    points: np.ndarray,
    params: Curate,
    detector: Detection | None = None,
    begin: Notify = lambda row: None,
    fatal: Sequence[int] = (),
) -> ImageFeatures:
    """Extract the features of N images.

    Each step runs on several images before the next step, so that its code stays in the
    processor's cache.

    Args:
        files: The bytes of each image file.
        boxes: (N, 4) x, y, w, h in pixels; NaN where unknown.
        points: (N, 5, 2) landmarks in pixels; NaN where unknown.
        params: Limits and the shape of the crops.
        detector: Detects the face of an image without a box; None leaves such images out.
        begin: Called before each image is decoded.
        fatal: Rows of images at which a process died before; they are rejected unread.
    """
    features = ImageFeatures(boxes, points, detected=detector is not None)
    for row in fatal:
        detail = "a process was killed while it decoded this image"
        features.reject(row, Reject("costly", detail=detail))
    _read_headers(features, files, params.seed, detected=detector is not None)
    if detector is not None:
        detect_faces(features, files, detector, params.min_box, begin)
    _check_faces(features, params)
    for rows in _batches(features):
        _extract_pixels(features, files, rows, params, begin)
    return features


def _batches(features: ImageFeatures) -> list[list[int]]:
    """Rows of the images in batches of some _BATCH_PIXELS."""
    rows = np.array(features.rows(), int)
    width, height = (features.columns[name][rows] for name in ("width", "height"))
    pixels = np.cumsum(width * height)
    parts = np.split(rows, np.flatnonzero(np.diff(pixels // _BATCH_PIXELS)) + 1)
    return [part.tolist() for part in parts if len(part)]


def _read_headers(
    features: ImageFeatures,
    files: Sequence[bytes],
    seed: int,
    *,
    detected: bool,
) -> None:
    """Fill in hashes, random keys and sizes; reject files that are no sane images.

    Images whose faces are to be `detected` may have any format, and are turned upright.
    """
    columns = features.columns
    for row, data in enumerate(files):
        digest = hashlib.sha256(data)
        columns["sha256"][row] = digest.hexdigest()
        columns["lot"][row] = random_key(digest.digest(), seed)
        if columns["reason"][row]:
            continue
        try:
            size = decoding.image_size(data, any_format=detected)
            if detected:
                features.turns[row] = pictures.orientation(data)
            swapped = pictures.swaps_sides(features.turns[row])
            columns["width"][row], columns["height"][row] = size[::-1] if swapped else size
        except Reject as fault:
            features.reject(row, fault)


def random_key(digest: bytes, seed: int) -> int:
    """64 bits that sort images randomly.

    The key depends only on the image's digest and the seed, not on the other images.
    """
    key = hashlib.sha256(b"%d " % seed + digest).digest()
    return int.from_bytes(key[:8])


def _check_faces(features: ImageFeatures, params: Curate) -> None:
    """Reject images without a whole face that is large enough and not turned away."""
    columns = features.columns
    sizes = np.stack([columns["width"], columns["height"]], axis=1)
    inside = alignment.clamp_boxes(features.boxes, sizes)
    columns["yaw"][:] = alignment.head_yaw(features.points)
    for check in face_checks(features.boxes, features.points, inside, columns["yaw"], params):
        failing = check.fails & (columns["reason"] == "")
        for row in np.flatnonzero(failing).tolist():
            detail = check.detail.format(*features.boxes[row], *sizes[row])
            features.reject(row, Reject(check.reason, float(check.values[row]), detail))
    columns |= zip(LANDMARKS, features.points.reshape(-1, 10).T, strict=True)
    usable = (columns["reason"] == "")[:, None]
    features.boxes = np.where(usable, inside, np.nan)
    columns |= zip(BOX, features.boxes.T, strict=True)
    in_crop = alignment.crop_points(
        features.boxes, features.points, params.crop, params.crop_factor, params.hr_size
    )
    columns |= zip(CROP_LANDMARKS, in_crop.reshape(-1, 10).T, strict=True)


class _Decoded(NamedTuple):
    """A decoded image, reduced perhaps; box and landmarks are in its own pixels."""

    image: np.ndarray
    box: np.ndarray
    points: np.ndarray


def _extract_pixels(
    features: ImageFeatures,
    files: Sequence[bytes],
    rows: list[int],
    params: Curate,
    begin: Notify,
) -> None:
    """Decode these images and fill in all features that come from pixels."""
    faces = features.boxes[rows, 2:].max(axis=1)
    # How many times an image may be reduced before its crop or chip would be enlarged.
    for_crop = faces * params.crop_factor / params.hr_size
    shrink = np.minimum(for_crop, faces / alignment.FACE).tolist()
    decoded = dict(_decode(features, files, dict(zip(rows, shrink, strict=True)), begin))
    if not decoded:
        return
    rows = [*decoded]
    crops = _crop([*decoded.values()], params.crop, params.crop_factor, params.hr_size)
    features.crops |= zip(rows, crops, strict=True)
    _measure_crops(features, rows, crops, params.min_sharpness)
    sharp = [row for row in decoded if row in features.crops]
    whole = features.thumbs[:, 0] if features.detected else features.thumbs
    for row in sharp:
        whole[row] = image_stats.thumbnail(decoded[row].image)
    for row in sharp:
        features.chips[row] = alignment.face_chip(*decoded[row])
        if features.detected:
            features.thumbs[row, 1] = image_stats.thumbnail(features.chips[row])


def _decode(
    features: ImageFeatures,
    files: Sequence[bytes],
    shrink: dict[int, float],
    begin: Notify,
) -> Iterator[tuple[int, _Decoded]]:
    """Decode the images at the rows `shrink`, reduced at most so many times."""
    for row, most in shrink.items():
        begin(row)
        try:
            image, reduction = decoding.decode(files[row], most, features.turns[row])
        except Reject as fault:
            features.reject(row, fault)
            continue
        box, points = features.boxes[row] / reduction, features.points[row] / reduction
        yield row, _Decoded(image, box, points)


def _crop(images: Sequence[_Decoded], kind: str, factor: float, side: int) -> np.ndarray:
    """Cut the face out of each image: (N, side, side, 3) uint8 RGB.

    `kind` and `factor` are `curate.crop` and `curate.crop_factor`.
    """
    crops = np.empty((len(images), side, side, 3), np.uint8)
    pixels, boxes, points = zip(*images, strict=True)
    if kind == "aligned":
        faces = alignment.aligned_crops(pixels, np.array(points), factor, side)
    else:
        pairs = zip(pixels, boxes, strict=True)
        faces = (alignment.square_crop(image, box, factor, side) for image, box in pairs)
    for crop, face in zip(crops, faces, strict=True):
        crop[:] = face
    return crops


def _measure_crops(
    features: ImageFeatures,
    rows: list[int],
    crops: np.ndarray,
    min_sharpness: float,
) -> None:
    """Fill in colour, hash and sharpness of the crops; reject blurred ones."""
    columns = features.columns
    means = np.array([cv2.mean(crop)[:3] for crop in crops]).T
    for colour, mean in zip(COLOUR, means, strict=True):
        columns[colour][rows] = mean
    grey = image_stats.miniatures(crops)
    columns["dhash"][rows] = image_stats.difference_hash(grey)
    columns["sharpness"][rows] = image_stats.sharpness(grey)
    for row in rows:
        sharpness = float(columns["sharpness"][row])
        if sharpness < min_sharpness:
            detail = f"sharpness is under {min_sharpness:g}"
            features.reject(row, Reject("blurred", sharpness, detail))
