"""Images measured: checked, decoded, cropped and hashed; see refsr.curation.extraction for whole identities."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from refsr.config import Curate
from refsr.curation import alignment, decoding, image_stats
from refsr.curation.decoding import Reject
from refsr.layouts.base import BOX, LANDMARKS

COLOUR = ("red", "green", "blue")  # means over the crop
MEASURES = (
    "sha256",
    "lot",
    "width",
    "height",
    *BOX,
    *LANDMARKS,
    "yaw",
    "sharpness",
    "dhash",
    *COLOUR,
    "face_probability",
)
Find = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray] | None]  # an RGB image -> its face's box and landmarks
_TYPES = {"reason": object, "detail": object, "sha256": object, "lot": np.uint64, "dhash": np.uint64}  # others: float64
_SOUGHT = 320  # pixels; an image whose face is to be found may be reduced until its shorter side would be less
_TOGETHER = 6_000_000  # pixels of images that are decoded at a time: 18 MB of what the cores share as cache


class Looks:
    """What N images show.

    facts: (N,) each, by the names of MEASURES and `reason`, `value`, `detail`; NaN or nought where not known.
    thumbs: (N, 32, 32) uint8, of the whole images; black of those left out.
    chips, crops: (150, 150, 3) for the identity network and (hr_size, hr_size, 3), uint8 RGB, by the rows still in.
    """

    def __init__(self, boxes: np.ndarray, points: np.ndarray) -> None:
        self.boxes, self.points = boxes.copy(), points.copy()  # in source pixels
        self.facts = {name: np.zeros(len(boxes), _TYPES[name]) for name in ("lot", "dhash")}
        self.facts |= {name: np.full(len(boxes), "", object) for name in ("reason", "detail", "sha256")}
        self.facts |= {name: np.full(len(boxes), np.nan) for name in ("value", *MEASURES) if name not in self.facts}
        self.thumbs = np.zeros((len(boxes), image_stats.THUMB, image_stats.THUMB), np.uint8)
        self.chips: dict[int, np.ndarray] = {}
        self.crops: dict[int, np.ndarray] = {}

    def rows(self) -> list[int]:
        """Those of the images that are not left out."""
        return [row for row, reason in enumerate(self.facts["reason"]) if not reason]

    def leave_out(self, row: int, fault: Reject) -> None:
        """Of this image nothing is kept but the facts."""
        told = {"reason": fault.reason, "value": fault.value, "detail": fault.detail}
        for name, fact in told.items():
            self.facts[name][row] = fact
        self.thumbs[row] = 0
        self.chips.pop(row, None)
        self.crops.pop(row, None)


def join(parts: Sequence[Looks]) -> Looks:
    """What images show that were measured in parts, in their order, as if all had been measured at once."""
    whole = Looks(np.concatenate([part.boxes for part in parts]), np.concatenate([part.points for part in parts]))
    whole.facts = {name: np.concatenate([part.facts[name] for part in parts]) for name in parts[0].facts}
    whole.thumbs = np.concatenate([part.thumbs for part in parts])
    start = 0
    for part in parts:
        whole.chips |= {start + row: chip for row, chip in part.chips.items()}
        whole.crops |= {start + row: crop for row, crop in part.crops.items()}
        start += len(part.thumbs)
    return whole


def measure_images(
    files: Sequence[bytes],
    boxes: np.ndarray,
    points: np.ndarray,
    params: Curate,
    find: Find | None = None,
    begin: Callable[[int], None] = lambda row: None,
    deadly: Sequence[int] = (),
) -> Looks:
    """All that is to be known of images: their files' bytes, face boxes (N, 4) and landmarks (N, 5, 2), in pixels.

    Where there is no box, `find` is asked for the face, if given. A step at a time for several images: each finds its
    code in the processor's cache, which saves much of the time. `begin` is called before each image is decoded; the
    rows `deadly`, at which a process was killed before, are left out.
    """
    looks = Looks(boxes, points)
    for row in deadly:
        looks.leave_out(row, Reject("costly", detail="a process was killed while it decoded this image"))
    _identify(looks, files, params, any_format=find is not None)
    if find is not None:
        _seek(looks, files, find, begin)
    _place(looks, params)
    for rows in _portions(looks):
        _see(looks, files, rows, params, begin)
    return looks


def _portions(looks: Looks) -> list[list[int]]:
    """The rows of the images, so many at a time that what is decoded stays small."""
    rows = np.array(looks.rows(), int)
    pixels = np.cumsum(looks.facts["width"][rows] * looks.facts["height"][rows])
    parts = np.split(rows, np.flatnonzero(np.diff(pixels // _TOGETHER)) + 1)
    return [part.tolist() for part in parts if len(part)]


def _identify(looks: Looks, files: Sequence[bytes], params: Curate, *, any_format: bool) -> None:
    """Hashes and sizes. A set with box files is of JPEGs; where faces are detected, any format goes."""
    facts = looks.facts
    for row, data in enumerate(files):
        digest = hashlib.sha256(data)
        facts["sha256"][row], facts["lot"][row] = digest.hexdigest(), draw_lot(digest.digest(), params.seed)
        if facts["reason"][row]:
            continue
        try:
            facts["width"][row], facts["height"][row] = decoding.image_size(data, any_format=any_format)
        except Reject as fault:
            looks.leave_out(row, fault)


def draw_lot(digest: bytes, seed: int) -> int:
    """64 bits that put images in a random order: by their content, so that it does not hang on the other images."""
    return int.from_bytes(hashlib.sha256(b"%d " % seed + digest).digest()[:8])


def _seek(looks: Looks, files: Sequence[bytes], find: Find, begin: Callable[[int], None]) -> None:
    """Box and landmarks of the face, in source pixels, where it is not told where it is."""
    shorter = np.minimum(looks.facts["width"], looks.facts["height"])
    for row in looks.rows():
        if np.isfinite(looks.boxes[row]).all():
            continue
        begin(row)
        try:
            image, reduction = decoding.decode(files[row], shorter[row] / _SOUGHT)
            found = find(image)
            if found is None:
                raise Reject("no_face", detail="the detector finds none")
            looks.boxes[row], looks.points[row] = found[0] * reduction, found[1] * reduction
        except Reject as fault:
            looks.leave_out(row, fault)


def _place(looks: Looks, params: Curate) -> None:
    """Is there a whole face, large enough and seen from before?"""
    facts, whole, size = looks.facts, looks.boxes, np.stack([looks.facts["width"], looks.facts["height"]], axis=1)
    inside = alignment.clamp_boxes(whole, size)
    shorter = inside[:, 2:].min(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # where a box has no area
        cut = 1 - inside[:, 2:].prod(axis=1) / whole[:, 2:].prod(axis=1)
    facts["yaw"][:] = [alignment.head_yaw(face) for face in looks.points]
    turned, unknown = np.abs(facts["yaw"]), np.full(len(whole), np.nan)
    unplaced = np.array([params.crop == "aligned" and not alignment.is_placed(face) for face in looks.points])
    for reason, found, values, detail in (
        ("no_box", ~np.isfinite(whole).all(axis=1), unknown, ""),
        ("box_outside", shorter <= 0, unknown, "box {:g}, {:g}, {:g}, {:g} in an image of {:g}x{:g} px"),
        ("cut", cut > params.max_cut, cut, f"more than {params.max_cut:g} of the box lie outside the image"),
        ("small_box", shorter < params.min_box, shorter, f"the shorter side of the box is under {params.min_box} px"),
        ("extreme_pose", turned > params.max_yaw, turned, f"turned by more than {params.max_yaw:g} degrees"),
        ("no_landmarks", unplaced, unknown, ""),
    ):
        for row in np.flatnonzero(found & (facts["reason"] == "")).tolist():
            looks.leave_out(row, Reject(reason, float(values[row]), detail.format(*whole[row], *size[row])))
    facts |= zip(LANDMARKS, looks.points.reshape(-1, 10).T, strict=True)
    looks.boxes = np.where((facts["reason"] == "")[:, None], inside, np.nan)
    facts |= zip(BOX, looks.boxes.T, strict=True)


class _Seen(NamedTuple):
    """An image decoded, reduced perhaps: box and landmarks are in its pixels."""

    image: np.ndarray
    box: np.ndarray
    points: np.ndarray


def _see(looks: Looks, files: Sequence[bytes], rows: list[int], params: Curate, begin: Callable[[int], None]) -> None:
    """Decode these images and take from them all that is wanted."""
    seen = dict(_decode(looks, files, rows, params, begin))
    if not seen:
        return
    _cut_out(looks, seen, params)
    sharp = [row for row in seen if row in looks.crops]
    for row in sharp:
        looks.thumbs[row] = image_stats.thumbnail(seen[row].image)
    for row in sharp:
        looks.chips[row] = alignment.face_chip(*seen[row])


def _decode(
    looks: Looks, files: Sequence[bytes], rows: list[int], params: Curate, begin: Callable[[int], None]
) -> Iterator[tuple[int, _Seen]]:
    faces = looks.boxes[rows, 2:].max(axis=1)
    # How many times an image may be reduced before crop or chip would have to be enlarged.
    shrink = np.minimum(faces * params.crop_factor / params.hr_size, faces / alignment.FACE).tolist()
    for row, most in zip(rows, shrink, strict=True):
        begin(row)
        try:
            image, reduction = decoding.decode(files[row], most)
            yield row, _Seen(image, looks.boxes[row] / reduction, looks.points[row] / reduction)
        except Reject as fault:
            looks.leave_out(row, fault)


def _cut_out(looks: Looks, seen: dict[int, _Seen], params: Curate) -> None:
    """The crops, and what is measured on them."""
    crops = np.empty((len(seen), params.hr_size, params.hr_size, 3), np.uint8)
    for crop, (image, box, points) in zip(crops, seen.values(), strict=True):
        if params.crop == "aligned":
            crop[:] = alignment.aligned_crop(image, points, params.crop_factor, params.hr_size)
        else:
            crop[:] = alignment.square_crop(image, box, params.crop_factor, params.hr_size)
    rows, facts = [*seen], looks.facts
    looks.crops |= zip(rows, crops, strict=True)
    for colour, means in zip(COLOUR, np.array([cv2.mean(crop)[:3] for crop in crops]).T, strict=True):
        facts[colour][rows] = means
    grey = image_stats.miniatures(crops)
    facts["dhash"][rows], facts["sharpness"][rows] = image_stats.difference_hash(grey), image_stats.sharpness(grey)
    for row in rows:
        sharpness = float(facts["sharpness"][row])
        if sharpness < params.min_sharpness:
            looks.leave_out(row, Reject("blurred", sharpness, f"sharpness is under {params.min_sharpness:g}"))
