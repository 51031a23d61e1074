"""Check the boxes and landmarks of faces against the limits of `curate`."""

from typing import NamedTuple

import numpy as np

from refsr.config import Curate
from refsr.curation import alignment


class Check(NamedTuple):
    """A check of N faces: its reason, which faces fail, the values measured, and the detail."""

    reason: str
    fails: np.ndarray  # (N,) bool
    values: np.ndarray  # (N,), NaN where there is none
    detail: str = ""  # to be formatted with x, y, w, h, width and height


def face_checks(
    boxes: np.ndarray,
    points: np.ndarray,
    inside: np.ndarray,
    yaw: np.ndarray,
    params: Curate,
) -> list[Check]:
    """All checks, in the order in which they count.

    Args:
        boxes: (N, 4) x, y, w, h in pixels; NaN where unknown.
        points: (N, 5, 2) landmarks in pixels; NaN where unknown.
        inside: (N, 4) the boxes clamped to their images.
        yaw: (N,) degrees; NaN where unknown.
        params: The limits, and the kind of crop.
    """
    shorter = inside[:, 2:].min(axis=1)
    unknown = ~np.isfinite(boxes).all(axis=1)
    return [
        _without_value("no_box", unknown),
        _without_value("box_outside", shorter <= 0, _OUTSIDE),
        _cut(boxes, inside, params.max_cut),
        _small(shorter, params.min_box),
        _turned(np.abs(yaw), params.max_yaw),
        _without_value("no_landmarks", ~alignment.is_placed(points) & (params.crop == "aligned")),
    ]


_OUTSIDE = "box {:g}, {:g}, {:g}, {:g} in an image of {:g}x{:g} px"


def _without_value(reason: str, fails: np.ndarray, detail: str = "") -> Check:
    return Check(reason, fails, np.full(len(fails), np.nan), detail)


def _cut(boxes: np.ndarray, inside: np.ndarray, most: float) -> Check:
    with np.errstate(divide="ignore", invalid="ignore"):  # of a box without area
        cut = 1 - inside[:, 2:].prod(axis=1) / boxes[:, 2:].prod(axis=1)
    return Check("cut", cut > most, cut, f"more than {most:g} of the box lie outside the image")


def _small(shorter: np.ndarray, least: int) -> Check:
    detail = f"the shorter side of the box is under {least} px"
    return Check("small_box", shorter < least, shorter, detail)


def _turned(yaw: np.ndarray, most: float) -> Check:
    return Check("extreme_pose", yaw > most, yaw, f"turned by more than {most:g} degrees")
