"""The references as the network takes them, and how near the faces of a photo are to them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from refsr.curation.alignment import face_chip
from refsr.curation.face_models import embed_faces
from refsr.inference import faces
from refsr.inference.faces import Face, Square
from refsr.inference.options import SHARPNESS
from refsr.inference.restoration import FaceModel, restore

_PER_DISTANCE = 10.0  # of log odds: chosen on validation people, benchmarks/photo_to_photo.py
_DOUBT = 1e-4  # no score counts as more certain
CROP = 2.0  # an image without a detected face is a crop if it is at most so much too large


class Portrait(NamedTuple):
    """A reference, as the network takes it."""

    pixels: np.ndarray  # (n, n, 3) uint8 RGB, the face as in the training crops
    embedding: np.ndarray | None  # (128,) of dlib; None where no face is detected
    name: str = "the reference"
    note: str = ""  # what the user should know of it


def portraits_of(
    model: FaceModel,
    references: Sequence[np.ndarray],
    *,
    names: Sequence[str] = (),
    crop: bool = False,
) -> list[Portrait]:
    """The main face of each reference; to be made once for many photos.

    Args:
        model: Whose crops they become.
        references: Each (H, W, 3) uint8 RGB.
        names: What messages call each; default: reference 1, reference 2...
        crop: They are crops of faces already.
    """
    names = names or [f"reference {number}" for number in range(1, len(references) + 1)]
    return [_portrait(model, *each, crop) for each in zip(references, names, strict=True)]


def _portrait(model: FaceModel, reference: np.ndarray, name: str, crop: bool) -> Portrait:
    """The main face of a reference, cut as in training."""
    detected = faces.detect(reference)
    if detected:
        square = faces.square_of(detected[0].points, model.usual_landmarks)
        pixels = reference if crop else faces.cut(reference, square)
        return Portrait(pixels, embed_faces(face_chip(reference, *detected[0])[None])[0], name)
    note = "" if crop else f"{name}: no face is detected; it is taken as a crop of one."
    return Portrait(reference, None, name, note)


def distances_to(
    model: FaceModel,
    photo: np.ndarray,
    detected: Sequence[Face],
    squares: Sequence[Square],
    portraits: Sequence[Portrait],
) -> list[float | None]:
    """How far each face is from the mean of the references, before a reference changes it.

    Args:
        model: Restores the faces, without a reference.
        photo: (H, W, 3) uint8 RGB.
        detected: Its faces.
        squares: Of each face.
        portraits: The references.

    Returns:
        Of dlib's embedding, for each face; None where no reference has a detected face.
    """
    known = [each.embedding for each in portraits if each.embedding is not None]
    if not known or not detected:
        return [None] * len(squares)
    mean = np.stack(known).mean(axis=0)
    every = zip(detected, squares, strict=True)
    chips = [_own_chip(model, photo, face, square) for face, square in every]
    return [float(each) for each in np.linalg.norm(embed_faces(np.stack(chips)) - mean, axis=1)]


def fits_of(
    model: FaceModel, crop: np.ndarray, portraits: Sequence[Portrait]
) -> tuple[float | None, ...]:
    """How well each reference fits a face (c, c, 3): see refsr.models.compatibility."""
    return tuple(model.compatibility(crop, *(each.pixels for each in portraits)))


def best(distances: Sequence[float | None], fits: Sequence[Sequence[float | None]]) -> int:
    """The face that is most likely the person of the references; else the main one.

    Args:
        distances: Of each face, see `distances_to`.
        fits: Of each face, see `fits_of`.

    Returns:
        The face with the largest log odds of the model, minus _PER_DISTANCE times the distance.
    """
    ratings = [
        sum(map(_log_odds, fit)) / max(1, len(fit)) - _PER_DISTANCE * (distance or 0.0)
        for distance, fit in zip(distances, fits, strict=True)
    ]
    return int(np.argmax(ratings))


def _log_odds(fit: float | None) -> float:
    odds = min(max(0.5 if fit is None else fit, _DOUBT), 1 - _DOUBT)
    return math.log(odds / (1 - odds))


def _own_chip(model: FaceModel, photo: np.ndarray, face: Face, square: Square) -> np.ndarray:
    """The face chip of a square that was restored without a reference."""
    image, _ = restore(model, faces.cut(photo, square), (), SHARPNESS)
    stretch = len(image) / square.side
    points = (face.points @ square.turn[:, :2].T + square.turn[:, 2]) * stretch
    return face_chip(image, face.box, points)
