"""One image measured: checked, decoded, cropped and hashed; see refsr.data.measurements for many of them."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from refsr.config import Curate
from refsr.data import quality
from refsr.data.quality import Reject
from refsr.data.vggface2 import BOX, LANDMARKS

COLOUR = ("red", "green", "blue")  # means over the crop
MEASURES = ("sha256", "lot", "width", "height", *BOX, *LANDMARKS, "yaw", "sharpness", "dhash", *COLOUR)
Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray] | None]  # an RGB image -> its face's box and landmarks
_SOUGHT = 320  # pixels; an image whose face is to be found may be reduced until its shorter side would be less


class Look(NamedTuple):
    """What one image shows: facts by the names of MEASURES and `reason`, `value`, `detail`; None where left out."""

    facts: dict[str, Any]
    thumb: np.ndarray | None = None  # (32, 32) uint8, of the whole image
    chip: np.ndarray | None = None  # (150, 150, 3) uint8 RGB, for the identity network
    hr: np.ndarray | None = None  # (hr_size, hr_size, 3) uint8 RGB, the crop


def measure_image(data: bytes, box: np.ndarray, points: np.ndarray, params: Curate, find: Find | None = None) -> Look:
    """All that is to be known of an image: its file's bytes, face box (4,) and landmarks (5, 2), NaN where unknown.

    Where there is no box, `find` is asked for the face, if given.
    """
    facts: dict[str, Any] = {"reason": "", "value": np.nan, "detail": "", "dhash": 0}
    digest = hashlib.sha256(data)
    facts["sha256"], facts["lot"] = digest.hexdigest(), draw_lot(digest.digest(), params.seed)
    try:
        size = quality.image_size(data)
        facts["width"], facts["height"] = size
        if find is not None and not np.isfinite(box).all():
            box, points = _found(data, size, find)
        facts["yaw"] = quality.head_yaw(points)
        facts |= zip(LANDMARKS, points.ravel().tolist(), strict=True)
        box = _usable_box(box, size, facts["yaw"], params)
        facts |= zip(BOX, box.tolist(), strict=True)
        if params.crop == "aligned" and not quality.is_placed(points):
            raise Reject("no_landmarks")
        return _look(data, box, points, params, facts)
    except Reject as fault:
        facts |= {"reason": fault.reason, "value": fault.value, "detail": fault.detail}
        return Look(facts)


def _found(data: bytes, size: tuple[int, int], find: Find) -> tuple[np.ndarray, np.ndarray]:
    """Box and landmarks of the face in source pixels."""
    image, reduction = quality.decode(data, min(size) / _SOUGHT)
    found = find(image)
    if found is None:
        raise Reject("no_face", detail="the detector finds none")
    return found[0] * reduction, found[1] * reduction


def _look(data: bytes, box: np.ndarray, points: np.ndarray, params: Curate, facts: dict[str, Any]) -> Look:
    image, reduction = quality.decode(data, _shrink(box, params))
    box, points = box / reduction, points / reduction
    hr = _crop(image, box, points, params)
    grey = quality.luminance(hr)
    facts["sharpness"] = quality.sharpness(grey)
    if facts["sharpness"] < params.min_sharpness:
        raise Reject("blurred", facts["sharpness"], f"sharpness is under {params.min_sharpness:g}")
    facts["dhash"] = quality.difference_hash(grey)
    facts |= zip(COLOUR, cv2.mean(hr), strict=False)
    return Look(facts, quality.thumbnail(image), quality.face_chip(image, box, points), hr)


def draw_lot(digest: bytes, seed: int) -> int:
    """64 bits that put images in a random order: by their content, so that it does not hang on the other images."""
    return int.from_bytes(hashlib.sha256(b"%d " % seed + digest).digest()[:8])


def _shrink(box: np.ndarray, params: Curate) -> float:
    """How many times an image may be reduced before crop or chip would have to be enlarged."""
    face = float(box[2:].max())
    return min(face * params.crop_factor / params.hr_size, face / quality.FACE)


def _crop(image: np.ndarray, box: np.ndarray, points: np.ndarray, params: Curate) -> np.ndarray:
    if params.crop == "aligned":
        return quality.aligned_crop(image, points, params.crop_factor, params.hr_size)
    return quality.square_crop(image, box, params.crop_factor, params.hr_size)


def _usable_box(box: np.ndarray, size: tuple[int, int], yaw: float, params: Curate) -> np.ndarray:
    if not all(map(math.isfinite, box.tolist())):
        raise Reject("no_box")
    whole, box = box, quality.clamp_box(box, size)
    cut = 1 - math.prod(box[2:].tolist()) / math.prod(whole[2:].tolist())
    if cut > params.max_cut:
        raise Reject("cut", cut, f"more than {params.max_cut:g} of the box lie outside the image")
    if box[2:].min() < params.min_box:
        raise Reject("small_box", float(box[2:].min()), f"the shorter side of the box is under {params.min_box} px")
    if abs(yaw) > params.max_yaw:
        raise Reject("extreme_pose", abs(yaw), f"turned by more than {params.max_yaw:g} degrees")
    return box
