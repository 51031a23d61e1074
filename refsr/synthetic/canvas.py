"""Soft painting on a rectangle of the face plane: masks in [0, 1], and colour through them."""

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def f32(values: object) -> np.ndarray:
    """A float32 array; arithmetic with it leaves float32 pixels float32."""
    return np.asarray(values, np.float32)


def smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """The cubic step: 0 below `low`, 1 above `high` (or the reverse, where high < low)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: list[int],
    stretch: float = 1.0,
) -> np.ndarray:
    """Smooth noise with a standard deviation of 1.

    Args:
        rng: The source of the noise.
        shape: (H, W), pixels.
        cells: The number of cells across, per octave.
        stretch: The number of cells down over the number across.

    Returns:
        (H, W) float32.
    """
    total = np.zeros(shape, np.float32)
    for octave, n in enumerate(cells):
        grid = rng.standard_normal((max(2, round(n * stretch)), n), dtype=np.float32)
        total += 0.6**octave * cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(total / (total.std() + 1e-6), np.float32)


class Canvas:
    """An (H, W, 3) float32 sRGB image, 0-255, of a rectangle of the face plane.

    Its left edge is at x0 and its top at y1; x grows to the right, y grows upwards.
    """

    def __init__(self, image: np.ndarray, x0: float, y1: float, scale: float) -> None:
        self.image = image
        self.x0, self.y1, self.scale = x0, y1, scale  # scale is pixels per unit
        height, width = image.shape[:2]
        self.x = (x0 + (np.arange(width, dtype=np.float32) + 0.5) / scale)[None]
        self.y = (y1 - (np.arange(height, dtype=np.float32) + 0.5) / scale)[:, None]

    def window(self, x: float, y: float, half_width: float, half_height: float) -> "Canvas":
        """A part of the canvas, cut at its edges, as a view of the same pixels.

        Args:
            x: Centre, face units.
            y: Centre, face units.
            half_width: Face units.
            half_height: Face units.
        """
        height, width = self.image.shape[:2]
        left, right = (round((v - self.x0) * self.scale) for v in (x - half_width, x + half_width))
        ys = (y + half_height, y - half_height)
        top, bottom = (round((self.y1 - v) * self.scale) for v in ys)
        left, right, top, bottom = max(left, 0), min(right, width), max(top, 0), min(bottom, height)
        part = self.image[top:bottom, left:right]
        return Canvas(part, self.x0 + left / self.scale, self.y1 - top / self.scale, self.scale)

    def spot(self, x: float, y: float, sx: float, sy: float, power: float = 1.0) -> np.ndarray:
        """A Gaussian spot.

        Args:
            x: Centre, face units.
            y: Centre, face units.
            sx: Standard deviation along x.
            sy: Standard deviation along y.
            power: Above 1, the top is flatter and the edge is sharper.

        Returns:
            A mask, (H, W) float32 in [0, 1].
        """
        squared = ((self.x - x) / sx) ** 2 + ((self.y - y) / sy) ** 2
        return np.asarray(np.exp(-((squared / 2) ** power)), np.float32)

    def polygon(self, points: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """The inside of a closed curve, (N, 2) in face units, its edge blurred by `soft` units."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        cv2.fillPoly(mask, [self._pixels(points)], 255, cv2.LINE_AA, SHIFT)
        return self._soft(mask, soft)

    def strokes(self, curves: list[np.ndarray], width: float, soft: float = 0.0) -> np.ndarray:
        """Open curves, each (N, 2), drawn `width` units wide."""
        mask = np.zeros(self.image.shape[:2], np.uint8)
        lines = [self._pixels(curve) for curve in curves]
        pixels = max(1, round(width * self.scale))
        cv2.polylines(mask, lines, False, 255, pixels, cv2.LINE_AA, SHIFT)
        return self._soft(mask, soft)

    def tint(self, mask: np.ndarray, colour: object, strength: float = 1.0) -> None:
        """Paint a colour (or an image) through a mask."""
        self.image += (mask * strength)[..., None] * (np.asarray(colour, np.float32) - self.image)

    def shade(self, mask: np.ndarray, factor: object) -> None:
        """Multiply by `factor` where the mask is 1, and by 1 where it is 0."""
        self.image *= 1 - mask[..., None] * (1 - np.asarray(factor, np.float32))

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        x, y = points[:, 0] - self.x0, self.y1 - points[:, 1]
        pixels = np.stack([x, y], 1) * self.scale - 0.5
        return np.asarray(np.round(pixels * 2**SHIFT), np.int32)

    def _soft(self, mask: np.ndarray, soft: float) -> np.ndarray:
        image = mask.astype(np.float32) / 255
        return cv2.GaussianBlur(image, (0, 0), soft * self.scale) if soft else image
