"""One image measured: checked, decoded, cropped and hashed; see refsr.data.measurements for many of them."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from refsr.config import Curate
from refsr.data import quality
from refsr.data.quality import Reject
from refsr.data.vggface2 import BOX

MEASURES = ("sha256", "width", "height", *BOX, "yaw", "sharpness", "dhash")


class Look(NamedTuple):
    """What one image shows: facts by the names of MEASURES and `reason`, `value`, `detail`; None where left out."""

    facts: dict[str, Any]
    thumb: np.ndarray | None = None  # (32, 32) uint8, of the crop
    chip: np.ndarray | None = None  # (150, 150, 3) uint8 RGB, for the identity network
    hr: np.ndarray | None = None  # (hr_size, hr_size, 3) uint8 RGB, the crop


def measure_image(data: bytes, box: np.ndarray, points: np.ndarray, params: Curate) -> Look:
    """All that is to be known of an image, decoded once: its file's bytes, face box (4,) and landmarks (5, 2) or NaN."""
    facts: dict[str, Any] = {"reason": "", "value": np.nan, "detail": "", "dhash": 0}
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    facts["yaw"] = float(quality.head_yaw(points))
    try:
        size = quality.image_size(data)
        facts["width"], facts["height"] = size
        box = _usable_box(box, size, facts["yaw"], params)
        facts |= dict(zip(BOX, box.tolist(), strict=True))
        image, reduction = quality.decode(data, _shrink(box, params))
        box, points = box / reduction, points / reduction
        hr = _crop(image, box, points, params)
        grey = quality.luminance(hr)
        facts["sharpness"] = quality.sharpness(grey)
        if facts["sharpness"] < params.min_sharpness:
            raise Reject("blurred", facts["sharpness"], f"sharpness is under {params.min_sharpness:g}")
        thumb = quality.thumbnail(grey)
        facts["dhash"] = quality.difference_hash(thumb)
        return Look(facts, thumb, quality.face_chip(image, box, points), hr)
    except Reject as fault:
        facts |= {"reason": fault.reason, "value": fault.value, "detail": fault.detail}
        return Look(facts)


def hr_crop(data: bytes, box: np.ndarray, points: np.ndarray, params: Curate) -> np.ndarray:
    """The same (hr_size, hr_size, 3) image as `measure_image` has, of an image that is kept, from its clamped box."""
    image, reduction = quality.decode(data, _shrink(box, params))
    return _crop(image, box / reduction, points / reduction, params)


def _shrink(box: np.ndarray, params: Curate) -> float:
    """How many times an image may be reduced before crop or chip would have to be enlarged."""
    face = float(max(box[2:]))
    return min(face * params.crop_factor / params.hr_size, face / quality.FACE)


def _crop(image: np.ndarray, box: np.ndarray, points: np.ndarray, params: Curate) -> np.ndarray:
    return quality.square_crop(image, box, params.crop_factor, params.hr_size)


def _usable_box(box: np.ndarray, size: tuple[int, int], yaw: float, params: Curate) -> np.ndarray:
    if not np.isfinite(box).all():
        raise Reject("no_box")
    box = quality.clamp_box(box, size)
    if min(box[2:]) < params.min_box:
        raise Reject("small_box", float(min(box[2:])), f"the shorter side of the box is under {params.min_box} px")
    if abs(yaw) > params.max_yaw:
        raise Reject("extreme_pose", abs(yaw), f"turned by more than {params.max_yaw:g} degrees")
    return box
