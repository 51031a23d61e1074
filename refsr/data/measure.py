"""One image measured: checked, decoded, cropped and hashed; see refsr.data.measurements for many of them."""

import hashlib
from typing import Any

import numpy as np

from refsr.config import Curate
from refsr.data import quality
from refsr.data.quality import Reject
from refsr.data.vggface2 import BOX

MEASURES = ("sha256", "width", "height", *BOX, "yaw", "sharpness", "dhash")


def hr_crop(data: bytes, box: np.ndarray, params: Curate) -> np.ndarray:
    """The (hr_size, hr_size, 3) image of a face, from its file's bytes and its clamped box."""
    image, scale = _decode(data, box, params)
    return quality.square_crop(image, box / scale, params.crop_factor, params.hr_size)


def _decode(data: bytes, box: np.ndarray, params: Curate) -> tuple[np.ndarray, int]:
    return quality.decode(data, float(max(box[2:])), max(params.hr_size, quality.CHIP))


def measure_image(
    data: bytes, box: np.ndarray, points: np.ndarray, yaw: float, params: Curate
) -> tuple[dict[str, Any], np.ndarray, np.ndarray | None]:
    """(facts by the names of MEASURES and `reason`, `value`, `detail`; thumbnail; face chip or None where rejected)."""
    facts: dict[str, Any] = {"reason": "", "value": np.nan, "detail": "", "dhash": 0, "yaw": yaw}
    facts["sha256"] = hashlib.sha256(data).hexdigest()
    try:
        size = quality.image_size(data)
        facts["width"], facts["height"] = size
        box = _usable_box(box, size, yaw, params)
        facts |= dict(zip(BOX, box.tolist(), strict=True))
        image, scale = _decode(data, box, params)
        hr = quality.square_crop(image, box / scale, params.crop_factor, params.hr_size)
        facts["sharpness"] = quality.sharpness(hr)
        if facts["sharpness"] < params.min_sharpness:
            raise Reject("blurred", facts["sharpness"], f"sharpness is under {params.min_sharpness:g}")
        facts["dhash"] = quality.difference_hash(hr)
        return facts, quality.thumbnail(image), quality.face_chip(image, box / scale, points / scale)
    except Reject as fault:
        facts |= {"reason": fault.reason, "value": fault.value, "detail": fault.detail}
        return facts, np.zeros((quality.THUMB, quality.THUMB), np.uint8), None


def _usable_box(box: np.ndarray, size: tuple[int, int], yaw: float, params: Curate) -> np.ndarray:
    if not np.isfinite(box).all():
        raise Reject("no_box")
    box = quality.clamp_box(box, size)
    if min(box[2:]) < params.min_box:
        raise Reject("small_box", float(min(box[2:])), f"the shorter side of the box is under {params.min_box} px")
    if abs(yaw) > params.max_yaw:
        raise Reject("extreme_pose", abs(yaw), f"turned by more than {params.max_yaw:g} degrees")
    return box
