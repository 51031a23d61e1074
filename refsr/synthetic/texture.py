"""Paint the skin of a person's face: all that no expression changes."""

from dataclasses import dataclass

import cv2
import numpy as np

from refsr.synthetic.canvas import Canvas, f32, noise, smooth
from refsr.synthetic.traits import Mark, Person

SIZE = 512
X0, Y1, SPAN = -0.9, 0.72, 1.8  # the square of the face plane that the texture covers
SCALE = SIZE / SPAN
BLOOD = np.array([1.05, 0.84, 0.81], np.float32)
SIDES = (-1, 1)


@dataclass(frozen=True)
class Skin:
    """A person's face without eyes and mouth, (SIZE, SIZE, 3) uint8 sRGB."""

    smooth: np.ndarray  # without lines
    lined: np.ndarray  # with deep lines


def texture_place(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where points of the face plane lie in the texture, pixels."""
    return (x - X0) * SCALE - 0.5, (Y1 - y) * SCALE - 0.5


def paint_skin(who: Person) -> Skin:
    """All that no expression changes: tone, pores, lines, marks, nostrils, beard and brows."""
    rng = np.random.default_rng([5, who.seed])
    canvas = Canvas(np.empty((SIZE, SIZE, 3), np.float32), X0, Y1, SCALE)
    canvas.image[:] = who.skin
    _complexion(canvas, who, rng)
    _freckles(canvas, who, rng)
    _nostrils(canvas, who)
    _beard(canvas, who, rng)
    _marks(canvas, who, rng)
    _brows(canvas, who, rng)
    smooth_skin = _bytes(canvas.image)
    canvas.shade(_lines(canvas, who, rng), (0.75, 0.67, 0.66))
    return Skin(smooth_skin, _bytes(canvas.image))


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _complexion(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    pores = cv2.GaussianBlur(rng.standard_normal((SIZE, SIZE), dtype=np.float32), (0, 0), 1.2)
    tone = 1 + 0.022 * noise(rng, (SIZE, SIZE), [6, 14, 34, 80]) + (0.04 + 0.05 * who.age) * pores
    canvas.image *= tone[..., None]
    _blush(canvas, who)
    for side in SIDES:
        _eye_shadows(canvas, who, side)


def _blush(canvas: Canvas, who: Person) -> None:
    """Redden the cheeks and the tip of the nose."""
    bright = float(np.mean(who.skin)) / 255
    spots = [(-0.36, -0.2, 0.14, 0.8), (0.36, -0.2, 0.14, 0.8), (0, who.nose.base, 0.09, 0.7)]
    for x, y, size, strength in spots:
        near = canvas.window(x, y, 3 * size, 3 * size)
        near.shade(near.spot(x, y, size, size) * strength * (0.35 + 0.65 * bright), BLOOD)


def _eye_shadows(canvas: Canvas, who: Person, side: int) -> None:
    eyes = who.eyes
    x, near = side * eyes.x, canvas.window(side * eyes.x, eyes.y, 0.36, 0.2)
    bag = near.spot(x, eyes.y - 0.1, 0.1, 0.03) * (0.3 + 0.7 * eyes.bag)
    near.shade(bag, (0.86, 0.8, 0.82))
    near.shade(near.spot(x, eyes.y + 0.075, 0.12, 0.035), (0.9, 0.84, 0.83))
    near.shade(near.spot(side * 0.13, eyes.y + 0.03, 0.035, 0.06), (0.9, 0.85, 0.84))


def _freckles(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    for _ in range(who.freckles):
        x, y = rng.choice(SIDES) * abs(rng.normal(0.22, 0.15)), rng.normal(-0.12, 0.13)
        size, strength = rng.uniform(0.006, 0.013), rng.uniform(0.3, 0.7)
        near = canvas.window(x, y, 4 * size, 4 * size)
        near.shade(near.spot(x, y, size, size) * strength, (0.76, 0.56, 0.46))


def _nostrils(canvas: Canvas, who: Person) -> None:
    base, width = who.nose.base, who.nose.width
    near = canvas.window(0, base, 0.32, 0.2)
    for side in SIDES:
        hole = near.spot(side * width * 0.5, base - 0.035, 0.024, 0.012, 1.6)
        near.tint(hole, np.array(who.skin) * 0.2, 0.85)
        near.shade(near.spot(side * width * 1.18, base - 0.005, 0.012, 0.035), (0.8, 0.72, 0.7))
    near.shade(near.spot(0, base - 0.05, width * 0.9, 0.013), (0.8, 0.72, 0.7))


def _beard(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    if not who.male:
        return
    mouth = who.mouth
    lips = canvas.spot(0, mouth.y, mouth.width * 0.62, 0.04, 1.5)
    mask = _beard_mask(canvas, who)
    grain = rng.standard_normal((SIZE, SIZE), dtype=np.float32)
    hairs = cv2.GaussianBlur(grain, (0, 0), sigmaX=0.7, sigmaY=1.7)
    density = mask * (1 - lips) * (1 + 0.24 * hairs / hairs.std())
    canvas.tint(np.clip(density, 0, 0.96), np.array(who.hair.beard_colour) * 0.8)


def _beard_mask(canvas: Canvas, who: Person) -> np.ndarray:
    x, y, mouth = np.abs(canvas.x), canvas.y, who.mouth
    lip = canvas.spot(0, mouth.y + mouth.upper + 0.05, mouth.width * 0.62, 0.03, 1.5)
    cheeks = smooth(0, 0.16, 0.62 * x - 0.62 - y + 0.3 * smooth(0.2, 0, x)) * smooth(0.2, -0.3, y)
    below = smooth(mouth.y - 0.1, mouth.y - 0.17, y) * smooth(0.5, 0.4, x)
    full = np.maximum(np.maximum(cheeks, lip), below)
    chin = canvas.spot(0, mouth.y - 0.3, 0.13, 0.16, 2)
    around = canvas.spot(0, mouth.y - 0.12, mouth.width * 1.15, 0.2, 3)
    ring = np.maximum(np.maximum(lip, chin), around)
    masks = {"none": 0.1 * full, "stubble": 0.42 * full, "full": 0.95 * full}
    masks |= {"goatee": 0.92 * ring + 0.1 * full, "moustache": 0.95 * lip + 0.1 * full}
    masks |= {"chin": 0.92 * chin + 0.12 * full}
    return np.asarray(masks[who.hair.beard])


def _marks(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    for mark in who.marks:
        near = canvas.window(mark.x, mark.y, 3 * mark.size, 3 * mark.size)
        if mark.kind == "mole":
            mole = near.spot(mark.x, mark.y, mark.size * 0.7, mark.size * 0.7, 2)
            near.tint(mole, (54, 32, 26), 0.85)
        elif mark.kind == "scar":
            colour = np.minimum(np.array(who.skin) * 1.15 + 14, 255)
            near.tint(near.strokes([_scar(mark, rng)], 0.016, 0.004), colour, 0.8)
        else:
            ragged = 1 + 0.5 * noise(rng, near.image.shape[:2], [4, 8])
            spot = near.spot(mark.x, mark.y, mark.size * 0.6, mark.size * 0.45, 1.5)
            near.shade(np.clip(spot * np.clip(ragged, 0, 1.3), 0, 1), (0.72, 0.5, 0.5))


def _scar(mark: Mark, rng: np.random.Generator) -> np.ndarray:
    """The curve of a scar, (12, 2)."""
    direction = [[np.cos(mark.angle), np.sin(mark.angle)]]
    along = np.linspace(-0.5, 0.5, 12)[:, None] * mark.size * direction
    return np.asarray(along + f32([mark.x, mark.y]) + rng.normal(0, 0.002, (12, 2)))


def _brows(canvas: Canvas, who: Person, rng: np.random.Generator) -> None:
    brows, count = who.brows, int(420 * who.brows.density)
    for side in SIDES:
        near = canvas.window(side * 0.28, who.eyes.y + brows.height + 0.03, 0.28, 0.15)
        along = rng.uniform(0, 1, count)
        along = along[np.abs(along - brows.slit) > 0.035] if brows.slit and side > 0 else along
        spine = brow_height(who, along)
        half = brows.thickness * (1 - 0.7 * along**1.5) * (0.5 + 0.5 * smooth(0, 0.15, along))
        x = brows.inner + along * brows.length
        y = spine + rng.uniform(-1, 1, len(along)) * half
        angle = 1.3 - 1.3 * np.sqrt(along) + rng.normal(0, 0.18, len(along))
        tip_x = side * (x + 0.04 * np.cos(angle))
        tip_y = y + 0.022 * np.sin(angle) - 0.012 * along
        hairs = list(np.stack([np.stack([side * x, y], 1), np.stack([tip_x, tip_y], 1)], 1))
        mask = near.strokes(hairs, 0.0045, 0.0022)
        near.tint(
            np.clip(mask * 1.15, 0, 1),
            np.array(who.hair.beard_colour) * 0.6,
            0.6 + 0.35 * brows.density,
        )


def brow_height(who: Person, along: np.ndarray) -> np.ndarray:
    """y of the middle of a brow, `along` it from the inner end (0) to the outer (1)."""
    brows = who.brows
    bow = brows.arch * np.sin(np.pi * np.clip(along * 0.95, 0, 1) ** 1.3)
    middle = who.eyes.y + brows.height + bow
    return np.asarray(middle + brows.slope * (along - 0.4) - 0.03 * along**3)


def _lines(canvas: Canvas, who: Person, rng: np.random.Generator) -> np.ndarray:
    curves = []
    for i in range(4):
        x = np.linspace(-rng.uniform(0.16, 0.34), rng.uniform(0.16, 0.34), 24)
        wave = 0.02 * np.cos(4 * x) + 0.006 * np.sin(17 * x + i)
        curves.append(np.stack([x, 0.31 + 0.062 * i + rng.normal(0, 0.01) + wave], 1))
    for side in SIDES:
        outer = side * (who.eyes.x + who.eyes.width)
        for i in (-1, 0, 1):
            start = [outer + side * 0.015, who.eyes.y + 0.018 * i]
            curves.append(np.array([start, [outer + side * 0.1, who.eyes.y + 0.05 * i - 0.01]]))
        bag = np.linspace(-0.8, 0.8, 12)
        x, y = side * who.eyes.x + bag * 0.13, who.eyes.y - 0.115 + 0.035 * bag**2
        curves.append(np.stack([x, y], 1))
    return canvas.strokes(curves, 0.011, 0.008)
