"""How faces lie in their crops: against crops of known tilt, scale and border."""

import numpy as np
import pandas as pd
import pytest

from refsr.curation import alignment
from refsr.dataset import framing

FACE = np.array([[40, 50], [80, 50], [60, 70], [45, 90], [75, 90]], float)  # eyes 40 px apart
BOX = np.array([30.0, 30, 60, 80])


def _table(points: np.ndarray, box: np.ndarray, kind: str) -> pd.DataFrame:
    placed = alignment.crop_points(box[None], points[None], kind, 1.25, 64)
    values = [*placed.ravel(), *points.ravel(), 200, 160]
    return pd.DataFrame([values], columns=list(framing.COLUMNS))


def _turned(points: np.ndarray, degrees: float) -> np.ndarray:
    flat = points[:, 0] + 1j * points[:, 1]
    flat = (flat - flat.mean()) * np.exp(1j * np.radians(degrees)) + flat.mean()
    return np.stack([flat.real, flat.imag], axis=1)


@pytest.mark.parametrize("degrees", [-20, 0, 35])
def test_the_tilt_and_the_eyes_are_those_of_the_crop(degrees: float) -> None:
    loose = framing.framing(_table(_turned(FACE, degrees), BOX, "loose"), 64).iloc[0]
    assert loose["tilt"] == pytest.approx(degrees, abs=1e-6)
    assert loose["eyes"] == pytest.approx(40 / 100)  # the crop's side is 1.25 * 80 px
    aligned = framing.framing(_table(_turned(FACE, degrees), BOX, "aligned"), 64).iloc[0]
    assert abs(aligned["tilt"]) < 1
    assert loose["border"] == 0


def test_what_lies_beyond_the_photo_is_counted() -> None:
    away = np.array([-60.0, 0])  # the crop's left edge is at 10 px, and goes to -50
    box = BOX + np.array([*away, 0, 0])
    table = _table(FACE + away, box, "loose")
    assert framing.framing(table, 64)["border"].iloc[0] == pytest.approx(0.5, abs=0.04)
    both = pd.concat([table, _table(FACE, BOX, "loose"), table * np.nan])
    assert framing.summary(both, 64) == {"tilt_95": 0, "eyes_median": 0.4, "beyond_photo": 0.5}
    assert framing.summary(table * np.nan, 64) == {}
