"""How faces lie in their crops: tilt, distance of the eyes, and what lies beyond the photo."""

import numpy as np
import pandas as pd

from refsr.dataset.schema import CROP_LANDMARKS

SOURCE_LANDMARKS = tuple(name.removeprefix("hr_") for name in CROP_LANDMARKS)
COLUMNS = (*CROP_LANDMARKS, *SOURCE_LANDMARKS, "width", "height")
_GRID = 16  # points to a side of a crop that are looked at
_SAMPLE = 4096  # images that stand for all in a summary
_BEYOND = 0.01  # share of a crop from which it counts as reaching beyond the photo


def framing(table: pd.DataFrame, hr_size: int) -> pd.DataFrame:
    """How the face of each image lies in its crop.

    Args:
        table: A manifest's COLUMNS.
        hr_size: Side of the crops, pixels.

    Returns:
        tilt: degrees of the line through the eyes, clockwise; eyes: their distance over the side
        of the crop; border: share of the crop that lies beyond the photo. NaN without landmarks.
    """
    points = _complex(table, CROP_LANDMARKS)
    line = points[:, 1] - points[:, 0]
    columns = {
        "tilt": np.degrees(np.angle(line)),
        "eyes": np.abs(line) / hr_size,
        "border": _border(points, table, hr_size),
    }
    known = np.isfinite(points).all(axis=1)
    return pd.DataFrame({name: np.where(known, x, np.nan) for name, x in columns.items()})


def summary(table: pd.DataFrame, hr_size: int) -> dict[str, float]:
    """`tilt_95`, `eyes_median` and `beyond_photo` of a manifest; empty without landmarks."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(_SAMPLE, len(table))).astype(int))
    measured = framing(table.iloc[rows], hr_size).dropna()
    if not len(measured):
        return {}
    tilt, eyes, border = (measured[name].to_numpy() for name in ("tilt", "eyes", "border"))
    return {
        "tilt_95": round(float(np.percentile(np.abs(tilt), 95)), 4),
        "eyes_median": round(float(np.median(eyes)), 4),
        "beyond_photo": round(float((border > _BEYOND).mean()), 4),
    }


def _complex(table: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """(N, 5) x + iy."""
    flat = table[list(names)].to_numpy(np.float64)
    return np.asarray(flat[:, ::2] + 1j * flat[:, 1::2])


def _border(points: np.ndarray, table: pd.DataFrame, hr_size: int) -> np.ndarray:
    """(N,) share of a grid on the crop that maps beyond the photo."""
    source = _complex(table, SOURCE_LANDMARKS)
    middle, goal = points.mean(axis=1), source.mean(axis=1)
    centred = points - middle[:, None]
    spread = np.maximum((np.abs(centred) ** 2).sum(axis=1), 1e-9)
    with np.errstate(invalid="ignore"):  # of images without landmarks
        scale = (centred.conj() * (source - goal[:, None])).sum(axis=1) / spread
    width, height = (table[name].to_numpy(np.float64) for name in ("width", "height"))
    places = (np.arange(_GRID) + 0.5) * hr_size / _GRID
    beyond = np.zeros(len(table))
    for place in (x + 1j * y for x in places for y in places):
        at = goal + scale * (place - middle)
        beyond += (at.real < 0) | (at.imag < 0) | (at.real > width) | (at.imag > height)
    return beyond / _GRID**2
