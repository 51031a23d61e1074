"""Backgrounds: a wall, lights, outdoors or a window, all out of focus."""

import cv2
import numpy as np

from refsr.synthetic.canvas import noise, smooth
from refsr.synthetic.traits import View

SIDE = 64  # pixels; backgrounds are painted small because they are blurred


def background(look: View, width: int, height: int) -> np.ndarray:
    """(height, width, 3) float32 sRGB, 0-255."""
    rng = np.random.default_rng([13, look.seed])
    painted = PAINTERS[look.background](rng)
    blurred = cv2.GaussianBlur(painted, (0, 0), rng.uniform(0.8, 2.5))
    image = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(image, 0, 255))


def _ramp(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    along = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    return np.asarray((top * (1 - along) + bottom * along) * np.ones((1, SIDE, 1)), np.float32)


def _wall(rng: np.random.Generator) -> np.ndarray:
    colour = rng.uniform(60, 225) + rng.normal(0, 22, 3)
    image = _ramp(colour * rng.uniform(0.85, 1.15), colour * rng.uniform(0.6, 1))
    image *= (1 + 0.06 * noise(rng, (SIDE, SIDE), [3, 7]))[..., None]
    if rng.random() < 0.5:
        edge = rng.integers(8, SIDE - 8)
        image[:, edge:] = image[:, edge:] * rng.uniform(0.5, 0.9) + rng.uniform(0, 40, 3)
    return image.astype(np.float32)


def _bokeh(rng: np.random.Generator) -> np.ndarray:
    image = _ramp(rng.uniform(10, 70, 3), rng.uniform(10, 60, 3))
    for _ in range(rng.integers(14, 34)):
        centre = tuple(int(v) for v in rng.integers(0, SIDE, 2))
        colour = rng.uniform(60, 255) * np.array([1, rng.uniform(0.5, 1), rng.uniform(0.2, 0.9)])
        disc = cv2.circle(
            np.zeros((SIDE, SIDE), np.float32),
            centre,
            int(rng.integers(2, 7)),
            1.0,
            -1,
            cv2.LINE_AA,
        )
        image += disc[..., None] * colour * rng.uniform(0.3, 0.8)
    return image.astype(np.float32)


def _outdoor(rng: np.random.Generator) -> np.ndarray:
    image = _ramp(
        np.array([120, 165, 215]) + rng.normal(0, 20, 3),
        np.array([205, 218, 228]) + rng.normal(0, 12, 3),
    )
    rows = np.linspace(0, 1, SIDE)[:, None]
    height = rows - rng.uniform(0.15, 0.7) + 0.1 * noise(rng, (SIDE, SIDE), [4, 9])
    trees = smooth(-0.05, 0.05, height)[..., None]
    leaf = np.array([70, 104, 52]) * rng.uniform(0.6, 1.4) + rng.normal(0, 14, 3)
    leaves = leaf * (1 + 0.3 * noise(rng, (SIDE, SIDE), [8, 18, 40])[..., None])
    return np.asarray(image * (1 - trees) + leaves * trees, np.float32)


def _window(rng: np.random.Generator) -> np.ndarray:
    image = _wall(rng) * 0.6
    left, top = rng.integers(-10, 45), rng.integers(0, 20)
    for row in range(2):
        for column in range(2):
            x, y = left + column * 15, top + row * 19
            pane = image[max(y, 0) : y + 17, max(x, 0) : max(x + 13, 0)]
            pane[:] = rng.uniform(190, 250) + rng.normal(0, 10, 3)
    return image.astype(np.float32)


PAINTERS = {"wall": _wall, "bokeh": _bokeh, "outdoor": _outdoor, "window": _window}
