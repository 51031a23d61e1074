"""A small photo and good photos of the same person in, the photo enlarged with its face restored.

Faces are detected, cut as in training, restored, and pasted back into the enlarged photo. What the
photo itself shows of a face is kept; the network adds only finer detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from refsr.curation.alignment import resample
from refsr.errors import RefsrError
from refsr.inference import faces
from refsr.inference.faces import Face, Square
from refsr.inference.image_statistics import image_statistics
from refsr.inference.options import Options, require, require_range
from refsr.inference.paste import paste
from refsr.inference.portraits import CROP, Portrait, best, distances_to, fits_of, portraits_of
from refsr.inference.restoration import SHARPNESS, FaceModel, restore
from refsr.inference.upscaler import fit_sentence
from refsr.io.limits import MAX_PIXELS
from refsr.models.compatibility import MISFIT

GUESS = "Details of the face are a guess of a neural network: no evidence of who this is."
MAX_SCALE = 16.0
MAX_FACES = 16  # of a photo that are restored or compared with the references


@dataclass(frozen=True)
class RestoredFace:
    """A face of the photo.

    Attributes:
        box: Left, top, width, height in pixels of the photo.
        distance: To the references, by dlib's embedding of the face restored without them. Under
            0.6 is usually the same person, but a face of few pixels is known badly. None where
            nothing was compared.
        fits: Of each reference the probability that it shows this person, None where the model
            does not say.
        restored: Whether the network enlarged it; others are enlarged by a plain filter.
        added: In [0, 1], the share of the network's finer detail that is in the result; 0 where
            the photo shows the face as large as the network would.
        statistics: Of a restored face in the size that the network takes: see
            refsr.inference.image_statistics.
    """

    box: tuple[float, float, float, float]
    distance: float | None
    fits: tuple[float | None, ...]
    restored: bool = False
    added: float = 0.0
    statistics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EnlargedPhoto:
    """The result of `upscale_photo`.

    Attributes:
        image: (H * scale, W * scale, 3) uint8 RGB.
        scale: How many times the photo was enlarged.
        faces: Those of the photo, large and central ones first.
        notes: Plain sentences that the user should read.
    """

    image: np.ndarray
    scale: float
    faces: tuple[RestoredFace, ...]
    notes: tuple[str, ...]


def upscale_photo(
    model: FaceModel,
    photo: np.ndarray,
    references: Sequence[np.ndarray] = (),
    *,
    crop: bool = False,
    **options: Any,
) -> EnlargedPhoto:
    """`enlarge` with references as they are: (H, W, 3) uint8 RGB each."""
    portraits = portraits_of(model, references, crop=crop)
    return enlarge(model, photo, portraits, crop=crop, **options)


def enlarge(
    model: FaceModel,
    photo: np.ndarray,
    portraits: Sequence[Portrait] = (),
    *,
    scale: float | None = None,
    sharpness: float = SHARPNESS,
    all_faces: bool = False,
    crop: bool = False,
    drop_misfits: bool = False,
    fidelity: float = 1.0,
    temperature: float = 0.0,
    seed: int = 0,
) -> EnlargedPhoto:
    """Enlarge a photo and restore its face.

    Args:
        model: Enlarges a crop of a face.
        photo: (H, W, 3) uint8 RGB.
        portraits: Of `portraits_of`, good photos of the person.
        scale: How many times the photo is enlarged, 1 to MAX_SCALE; None: so that the face keeps
            all pixels that the network gives.
        sharpness: In [0, 1], the share of the network's detail; 0 is a plain filter.
        all_faces: Restore every face, not only the one that fits the references.
        crop: The photo is a crop of a face as in training: none is sought.
        drop_misfits: Do without references that do not fit the face.
        fidelity: In [0, 1], how strongly the face is held to the photo. At 1 it shows what the
            photo shows; less lets the network change more.
        temperature: From 0 to 2: 0 gives the most likely face, 1 draws a possible one.
        seed: Of what is drawn.

    Returns:
        The photo, and what was done to its faces.

    Raises:
        RefsrError: There is no face, a number is out of range, or the result would have more than
            MAX_PIXELS.
    """
    require_range("scale", scale, 1, MAX_SCALE)
    require_range("sharpness", sharpness, 0, 1)
    require(Options(temperature, seed, fidelity))
    draw = {"temperature": temperature, "seed": seed} if temperature else {}
    detected, notes = ([], []) if crop else _faces_of(model, photo)
    if detected:
        squares = [faces.square_of(face.points, model.usual_landmarks) for face in detected]
        boxes = [_box(face) for face in detected]
    else:
        height, width = photo.shape[:2]
        squares, boxes = [faces.whole(photo)], [(0.0, 0.0, float(width), float(height))]
    distances = distances_to(model, photo, detected, squares, portraits)
    crops = [faces.cut(photo, square) for square in squares]
    fits = [fits_of(model, crop, portraits) for crop in crops]
    chosen = range(len(squares)) if all_faces else [best(distances, fits)]
    main = squares[chosen[0]]
    scale = scale or natural_scale(model, main, whole=not detected)
    canvas = plain(photo, scale)
    restored = [RestoredFace(*each) for each in zip(boxes, distances, fits, strict=True)]
    for at in reversed(chosen):  # the main face last, on top
        used = _used(portraits, fits[at], drop_misfits=drop_misfits)
        face, added = restore(model, crops[at], used, sharpness, fidelity, **draw)
        paste(canvas, face, squares[at], scale, soft=bool(detected))
        numbers = image_statistics(crops[at], model.lr_size)
        restored[at] = replace(restored[at], restored=True, added=added, statistics=numbers)
    notes = [*notes, *(each.note for each in portraits if each.note)]
    notes += [*_fit_notes(portraits, fits[chosen[0]], drop_misfits), *_notes(model, main)]
    return EnlargedPhoto(canvas, scale, tuple(restored), tuple(notes))


def _used(
    portraits: Sequence[Portrait], fits: Sequence[float | None], *, drop_misfits: bool
) -> list[np.ndarray]:
    """The references that a face is restored with."""
    pairs = zip(portraits, fits, strict=True)
    return [each.pixels for each, fit in pairs if not drop_misfits or fit is None or fit >= MISFIT]


def _fit_notes(
    portraits: Sequence[Portrait], fits: Sequence[float | None], drop_misfits: bool
) -> list[str]:
    pairs = zip(portraits, fits, strict=True)
    return [
        f"{fit_sentence(each.name, fit, left_out=drop_misfits)}."
        for each, fit in pairs
        if fit is not None
    ]


def _faces_of(model: FaceModel, photo: np.ndarray) -> tuple[list[Face], list[str]]:
    """The faces of a photo; none, and a note, where it is small enough to be a crop of one."""
    detected = faces.detect(photo)[:MAX_FACES]
    if detected:
        return detected, []
    height, width = photo.shape[:2]
    size = f"{width}x{height}"
    if max(height, width) > CROP * model.lr_size:
        raise RefsrError(
            f"the photo ({size}): no face is detected; cut the photo closer to the face, "
            "or pass it as a crop (--crop) if it shows nothing but a face"
        )
    return [], [f"No face is detected; the photo ({size}) is taken as a crop of one."]


def natural_scale(model: FaceModel, square: Square, whole: bool = False) -> float:
    """So that the face of a square gets the network's HR size; whole numbers for a photo."""
    scale = model.hr_size / square.side
    return min(max(1.0, scale if whole else float(int(scale))), MAX_SCALE)


def plain(photo: np.ndarray, scale: float) -> np.ndarray:
    """The photo (H, W, 3) by a plain bicubic filter.

    Raises RefsrError where that has more than MAX_PIXELS.
    """
    height, width = (max(1, round(length * scale)) for length in photo.shape[:2])
    if height * width > MAX_PIXELS:
        most = (MAX_PIXELS / (photo.shape[0] * photo.shape[1])) ** 0.5
        raise RefsrError(
            f"scale {scale:g}: the result would be {width}x{height}; at most {MAX_PIXELS:,} "
            f"pixels are written: choose a scale of {max(1.0, int(most * 10) / 10):g} or less"
        )
    return resample(photo, width, height)


def _notes(model: FaceModel, square: Square) -> list[str]:
    side, size = square.side, model.lr_size
    if side >= model.hr_size:
        seen = f"The photo shows the face at {side} pixels"
        return [f"{seen}, the model gives {model.hr_size}: it adds nothing."]
    if side > 2 * size:
        known = f"The face has {side} pixels, the model was trained for {size}"
        return [f"{known}: most detail is the photo's own.", GUESS]
    return [GUESS]


def _box(face: Face) -> tuple[float, float, float, float]:
    left, top, width, height = face.box.round(1).tolist()
    return left, top, width, height
