"""A small photo and good photos of the same person in, the photo enlarged with its face restored.

Faces are detected, cut as in training, restored, and pasted back into the enlarged photo. What the
photo itself shows of a face is kept; the network adds only finer detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from refsr.curation.alignment import resample
from refsr.errors import RefsrError
from refsr.inference import faces
from refsr.inference.faces import Face, Square
from refsr.inference.image_statistics import image_statistics
from refsr.inference.options import MAX_SCALE, PhotoOptions
from refsr.inference.paste import paste
from refsr.inference.portraits import CROP, Portrait, best, distances_to, fits_of, portraits_of
from refsr.inference.restoration import FaceModel, restore
from refsr.inference.upscaler import fit_sentence
from refsr.io.limits import MAX_PIXELS
from refsr.models.compatibility import MISFIT

GUESS = "Details of the face are a guess of a neural network: no evidence of who this is."
MAX_FACES = 16  # of a photo that are restored or compared with the references


@dataclass(frozen=True)
class RestoredFace:
    """A face of the photo.

    Attributes:
        box: Left, top, width, height in pixels of the photo.
        distance: To the references, by dlib's embedding of the face restored without them. Under
            0.6 is usually the same person, but a face of few pixels is known badly. None where
            nothing was compared, and for the only face of a photo that the model rates.
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
    **options: Any,
) -> EnlargedPhoto:
    """`enlarge` with references as they are: (H, W, 3) uint8 RGB each."""
    return upscale_photos(model, [photo], references, **options)[0]


def upscale_photos(
    model: FaceModel,
    photos: Sequence[np.ndarray],
    references: Sequence[np.ndarray] = (),
    **options: Any,
) -> list[EnlargedPhoto]:
    """`upscale_photo` of several; the message of one that fails has its number."""
    portraits = portraits_of(model, references, crop=bool(options.get("crop")))
    done = []
    for number, photo in enumerate(photos, 1):
        try:
            done.append(enlarge(model, photo, portraits, **options))
        except RefsrError as error:
            if len(photos) == 1:
                raise
            raise RefsrError(f"photo {number}: {error}") from error
    return done


def enlarge(
    model: FaceModel, photo: np.ndarray, portraits: Sequence[Portrait] = (), **options: Any
) -> EnlargedPhoto:
    """Enlarge a photo and restore its face.

    Args:
        model: Enlarges a crop of a face.
        photo: (H, W, 3) uint8 RGB.
        portraits: Of `portraits_of`, good photos of the person.
        options: Of PhotoOptions.

    Returns:
        The photo, and what was done to its faces.

    Raises:
        RefsrError: There is no face, a number is out of range, or the result would have more than
            MAX_PIXELS.
    """
    how = PhotoOptions(**options)
    seen, notes = _seen(model, photo, portraits, crop=how.crop)
    chosen = _chosen(seen, how)
    main = seen[chosen[0]]
    scale = how.scale or natural_scale(model, main.square, whole=not main.is_detected)
    canvas = plain(photo, scale)
    done = [each.face for each in seen]
    for at in reversed(chosen):  # the main face last, on top
        done[at] = _restored(model, canvas, scale, seen[at], portraits, how)
    notes += [each.note for each in portraits if each.note]
    notes += _fit_notes(portraits, main.face.fits, how.drop_misfits)
    notes += _notes(model, main.square)
    return EnlargedPhoto(canvas, scale, tuple(done), tuple(notes))


class _Seen(NamedTuple):
    """A face before it is restored."""

    square: Square
    crop: np.ndarray  # (side, side, 3) uint8, the pixels of the square
    face: RestoredFace
    is_detected: bool


def _seen(
    model: FaceModel, photo: np.ndarray, portraits: Sequence[Portrait], *, crop: bool
) -> tuple[list[_Seen], list[str]]:
    """The faces of a photo compared with the references; a crop is one face. And notes."""
    detected, notes = ([], []) if crop else _faces_of(model, photo)
    height, width = photo.shape[:2]
    boxes = [_box(each) for each in detected] or [(0.0, 0.0, float(width), float(height))]
    usual = model.usual_landmarks
    squares = [faces.square_of(each.points, usual) for each in detected] or [faces.whole(photo)]
    crops = [faces.cut(photo, square) for square in squares]
    fits = [fits_of(model, each, portraits) for each in crops]
    # One face need not be chosen: where the model rates it, it is not restored twice.
    compared = [] if len(detected) == 1 and None not in fits[0] else portraits
    distances = distances_to(model, photo, detected, squares, compared)
    looks = map(RestoredFace, boxes, distances, fits)
    parts = zip(squares, crops, looks, strict=True)
    return [_Seen(*each, is_detected=bool(detected)) for each in parts], notes


def _chosen(seen: Sequence[_Seen], how: PhotoOptions) -> Sequence[int]:
    """Which faces are restored, the main one first."""
    if how.all_faces:
        return range(len(seen))
    return [best([each.face.distance for each in seen], [each.face.fits for each in seen])]


def _restored(
    model: FaceModel,
    canvas: np.ndarray,
    scale: float,
    seen: _Seen,
    portraits: Sequence[Portrait],
    how: PhotoOptions,
) -> RestoredFace:
    """The face, once its restoration is laid over the enlarged photo `canvas`."""
    used = _used(portraits, seen.face.fits, drop_misfits=how.drop_misfits)
    draw = {"temperature": how.temperature, "seed": how.seed} if how.temperature else {}
    face, added = restore(model, seen.crop, used, how.sharpness, how.fidelity, **draw)
    paste(canvas, face, seen.square, scale, soft=seen.is_detected)
    statistics = image_statistics(seen.crop, model.lr_size)
    return replace(seen.face, restored=True, added=added, statistics=statistics)


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
