"""Detect the faces of an image, and choose the one that it is of.

An image may show bystanders. Its main face is large and central; where another face of the image
is nearer to the main faces of the folder's other images, that one is chosen, since it recurs.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from refsr.curation import alignment, decoding
from refsr.curation.decoding import Reject
from refsr.curation.feature_columns import ImageFeatures

# (H, W, 3) uint8 RGB, and the smallest face sought, pixels -> boxes (K, 4) and landmarks
# (K, 5, 2) of K faces, in pixels.
FindFaces = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
Embed = Callable[[np.ndarray], np.ndarray]  # (N, 150, 150, 3) uint8 RGB -> (N, D) float32
Notify = Callable[[int], None]  # receives the row of the image that is decoded next

CHIP_BATCH = 32  # chips a network receives at once
_SIDE = 320  # pixels; the detector's input keeps at least this shorter side
_SMALLEST = 20.0  # pixels of the detector's input; smaller faces are not sought
_MOST_FACES = 6  # of an image that are compared with the folder, the main one first
_MOST_ALONE = 32  # images with one face whose embeddings stand for the folder's others
_MOST_SEVERAL = 64  # images with several faces that are compared at a time
_NEARER = 0.1  # of dlib's distance, by which a face that is not the main one has to fit better


class Detection(NamedTuple):
    """How faces are detected, and how that of one person is known among several."""

    find: FindFaces
    embed: Embed


class Seen(NamedTuple):
    """K faces of an image, the main one first, in pixels of the upright image."""

    boxes: np.ndarray  # (K, 4)
    points: np.ndarray  # (K, 5, 2)
    chips: np.ndarray  # (K, 150, 150, 3) uint8 RGB


def detect_faces(
    features: ImageFeatures,
    files: Sequence[bytes],
    detector: Detection,
    min_box: int,
    begin: Notify,
) -> None:
    """Fill in box and landmarks, in source pixels, of images without a box."""
    width, height = features.columns["width"], features.columns["height"]
    images: dict[int, Seen] = {}
    for row in features.rows():
        if np.isfinite(features.boxes[row]).all():
            continue
        begin(row)
        size = width[row], height[row]
        try:
            turned = features.turns[row]
            images[row] = look(files[row], turned, size, detector.find, min_box)
        except Reject as fault:
            features.reject(row, fault)
    chosen = choose([*images.values()], detector.embed)
    for (row, seen), at in zip(images.items(), chosen, strict=True):
        features.boxes[row], features.points[row] = seen.boxes[at], seen.points[at]


def look(
    data: bytes,
    orientation: int,
    size: tuple[float, float],
    find: FindFaces,
    min_box: float,
) -> Seen:
    """The faces of an image.

    Args:
        data: The file.
        orientation: See `refsr.io.pictures.orientation`.
        size: Width and height of the upright image, pixels.
        find: The detector.
        min_box: The least shorter side of a face box that is of use, pixels.

    Raises:
        Reject: The data does not decode, or no face is detected.
    """
    image, reduction = decoding.decode(data, min(size) / _SIDE, orientation)
    boxes, points = find(image, max(_SMALLEST, min_box / reduction))
    if not len(boxes):
        detail = f"the detector finds none of {min_box:g} px or more"
        raise Reject("no_face", detail=detail)
    first = by_size_and_place(boxes, image.shape[1], image.shape[0])[:_MOST_FACES]
    boxes, points = boxes[first], points[first]
    chips = [alignment.face_chip(image, *face) for face in zip(boxes, points, strict=True)]
    return Seen(boxes * reduction, points * reduction, np.stack(chips))


def by_size_and_place(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """(K,) positions of boxes (K, 4), large and central ones first.

    A face counts by its side, and by half of that at the corners of the image.
    """
    middle = boxes[:, :2] + boxes[:, 2:] / 2 - (width / 2, height / 2)
    beside = np.linalg.norm(middle, axis=1) / np.hypot(width / 2, height / 2)
    side = np.sqrt(np.maximum(boxes[:, 2] * boxes[:, 3], 0))
    return np.argsort(-side * (1 - beside / 2), kind="stable")


def choose(images: Sequence[Seen], embed: Embed) -> list[int]:
    """The position of the chosen face of each image of one person."""
    chosen = [0] * len(images)
    several = [at for at, seen in enumerate(images) if len(seen.boxes) > 1]
    alone = [at for at, seen in enumerate(images) if len(seen.boxes) == 1][:_MOST_ALONE]
    for start in range(0, len(several), _MOST_SEVERAL):
        compared = sorted([*several[start : start + _MOST_SEVERAL], *alone])
        if len(compared) > 1:
            faces = _embedded([images[at].chips for at in compared], embed)
            for at, position in zip(compared, recurring(faces), strict=True):
                chosen[at] = position
    return chosen


def _embedded(images: Sequence[np.ndarray], embed: Embed) -> list[np.ndarray]:
    """Embeddings (K, D) of the chips (K, 150, 150, 3) of each image."""
    chips = np.concatenate(images)
    parts = [embed(chips[at : at + CHIP_BATCH]) for at in range(0, len(chips), CHIP_BATCH)]
    return np.split(np.concatenate(parts), np.cumsum([len(image) for image in images])[:-1])


def remembering(embed: Embed) -> Embed:
    """The same network, which receives no chip twice: that of a chosen face is asked for again."""
    known: dict[bytes, np.ndarray] = {}

    def embed_new(chips: np.ndarray) -> np.ndarray:
        keys = [hashlib.blake2b(chip).digest() for chip in chips]
        new = {key: row for row, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, embed(chips[[*new.values()]]), strict=True))
        return np.stack([known[key] for key in keys])

    return embed_new


def recurring(faces: Sequence[np.ndarray]) -> list[int]:
    """Which face of each image is the one that recurs.

    Args:
        faces: Of at least two images the embeddings (K, D) of their faces, the main one first.

    Returns:
        Positions in these.
    """
    every = np.concatenate(faces).astype(np.float64)
    owner = np.repeat(np.arange(len(faces)), [len(image) for image in faces])
    is_main = np.diff(owner, prepend=-1) > 0
    between = np.linalg.norm(every[:, None] - every[None], axis=2)
    between += _NEARER * ~is_main  # a face beside the main one has to fit better
    starts = np.flatnonzero(is_main)
    nearest = np.minimum.reduceat(between, starts, axis=1)  # of each face, in each image
    nearest[np.arange(len(every)), owner] = 0
    half = max(1, (len(faces) - 1) // 2)  # others may be of another person
    fit = np.sort(nearest, axis=1)[:, 1 : 1 + half].mean(axis=1) + _NEARER * ~is_main
    ends = np.append(starts[1:], len(every))
    centre = int(fit.argmin())
    penalised = between[centre]
    positions = [int(penalised[a:b].argmin()) for a, b in zip(starts, ends, strict=True)]
    positions[owner[centre]] = centre - int(starts[owner[centre]])
    return positions
