"""Images measured: checked, decoded, cropped and hashed; see refsr.data.measurements for whole identities."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

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
_TOGETHER = 2_000_000  # pixels of images that are decoded at a time
_NOTHING = np.empty((0, 0, 3), np.uint8)


@dataclass(slots=True)
class Look:
    """What one image shows: facts by the names of MEASURES and `reason`, `value`, `detail`; None where left out."""

    data: bytes  # its file's; dropped with all that was made on the way, once it is looked at
    box: np.ndarray  # (4,) of the face, NaN where unknown
    points: np.ndarray  # (5, 2), landmarks, NaN where unknown
    facts: dict[str, Any] = field(default_factory=lambda: {"reason": "", "value": np.nan, "detail": "", "dhash": 0})
    thumb: np.ndarray | None = None  # (32, 32) uint8, of the whole image
    chip: np.ndarray | None = None  # (150, 150, 3) uint8 RGB, for the identity network
    hr: np.ndarray | None = None  # (hr_size, hr_size, 3) uint8 RGB, the crop
    # As decoded, reduced perhaps; then box and points are in its pixels.
    image: np.ndarray = field(default_factory=lambda: _NOTHING)

    def reject(self, fault: Reject) -> None:
        """Leave the image out: nothing is kept of it but the facts."""
        self.facts |= {"reason": fault.reason, "value": fault.value, "detail": fault.detail}
        self.thumb = self.chip = self.hr = None


def measure_images(
    files: Sequence[bytes], boxes: np.ndarray, points: np.ndarray, params: Curate, find: Find | None = None
) -> list[Look]:
    """All that is to be known of images: their files' bytes, face boxes (N, 4) and landmarks (N, 5, 2).

    Where there is no box, `find` is asked for the face, if given. A step at a time for several images: each finds its
    code in the processor's cache, which saves a tenth of the time.
    """
    looks = [Look(*told) for told in zip(files, boxes, points, strict=True)]
    _each(looks, params, _identify)
    if find is not None:
        _each(looks, params, lambda look, _: _seek(look, find))
    _each(looks, params, _place)
    for some in _portions(looks):
        _each(some, params, _decode, _cut_out, _describe, _see_whole, _cut_chip)
        for look in some:
            look.image, look.data = _NOTHING, b""
    return looks


def _each(looks: list[Look], params: Curate, *steps: Callable[[Look, Curate], None]) -> None:
    for step in steps:
        for look in looks:
            if not look.facts["reason"]:
                try:
                    step(look, params)
                except Reject as fault:
                    look.reject(fault)


def _portions(looks: list[Look]) -> Iterator[list[Look]]:
    """All of them, so many at a time that what is decoded stays small."""
    some: list[Look] = []
    pixels = 0
    for look in looks:
        size = look.facts.get("width", 0) * look.facts.get("height", 0)
        if some and pixels + size > _TOGETHER:
            yield some
            some, pixels = [], 0
        some.append(look)
        pixels += size
    yield some


def _identify(look: Look, params: Curate) -> None:
    digest = hashlib.sha256(look.data)
    look.facts["sha256"], look.facts["lot"] = digest.hexdigest(), draw_lot(digest.digest(), params.seed)
    look.facts["width"], look.facts["height"] = quality.image_size(look.data)


def draw_lot(digest: bytes, seed: int) -> int:
    """64 bits that put images in a random order: by their content, so that it does not hang on the other images."""
    return int.from_bytes(hashlib.sha256(b"%d " % seed + digest).digest()[:8])


def _seek(look: Look, find: Find) -> None:
    """Box and landmarks of the face, in source pixels, where it is not told where it is."""
    if np.isfinite(look.box).all():
        return
    image, reduction = quality.decode(look.data, min(look.facts["width"], look.facts["height"]) / _SOUGHT)
    found = find(image)
    if found is None:
        raise Reject("no_face", detail="the detector finds none")
    look.box, look.points = found[0] * reduction, found[1] * reduction


def _place(look: Look, params: Curate) -> None:
    """Is there a whole face, large enough and seen from before?"""
    look.facts["yaw"] = quality.head_yaw(look.points)
    look.facts |= zip(LANDMARKS, look.points.ravel().tolist(), strict=True)
    look.box = _usable_box(look, params)
    look.facts |= zip(BOX, look.box.tolist(), strict=True)
    if params.crop == "aligned" and not quality.is_placed(look.points):
        raise Reject("no_landmarks")


def _usable_box(look: Look, params: Curate) -> np.ndarray:
    whole = look.box.tolist()
    if not all(map(math.isfinite, whole)):
        raise Reject("no_box")
    box = quality.clamp_box(look.box, (look.facts["width"], look.facts["height"]))
    width, height = box[2:].tolist()
    cut = 1 - width * height / (whole[2] * whole[3])
    if cut > params.max_cut:
        raise Reject("cut", cut, f"more than {params.max_cut:g} of the box lie outside the image")
    if min(width, height) < params.min_box:
        raise Reject("small_box", min(width, height), f"the shorter side of the box is under {params.min_box} px")
    if abs(look.facts["yaw"]) > params.max_yaw:
        raise Reject("extreme_pose", abs(look.facts["yaw"]), f"turned by more than {params.max_yaw:g} degrees")
    return box


def _decode(look: Look, params: Curate) -> None:
    face = max(look.facts["w"], look.facts["h"])
    # How many times an image may be reduced before crop or chip would have to be enlarged.
    look.image, reduction = quality.decode(
        look.data, min(face * params.crop_factor / params.hr_size, face / quality.FACE)
    )
    look.box, look.points = look.box / reduction, look.points / reduction


def _cut_out(look: Look, params: Curate) -> None:
    if params.crop == "aligned":
        look.hr = quality.aligned_crop(look.image, look.points, params.crop_factor, params.hr_size)
    else:
        look.hr = quality.square_crop(look.image, look.box, params.crop_factor, params.hr_size)


def _describe(look: Look, params: Curate) -> None:
    hr = cast(np.ndarray, look.hr)
    grey = quality.luminance(hr)
    look.facts["sharpness"] = quality.sharpness(grey)
    if look.facts["sharpness"] < params.min_sharpness:
        raise Reject("blurred", look.facts["sharpness"], f"sharpness is under {params.min_sharpness:g}")
    look.facts["dhash"] = quality.difference_hash(grey)
    look.facts |= zip(COLOUR, cv2.mean(hr), strict=False)


def _see_whole(look: Look, params: Curate) -> None:
    look.thumb = quality.thumbnail(look.image)


def _cut_chip(look: Look, params: Curate) -> None:
    look.chip = quality.face_chip(look.image, look.box, look.points)
