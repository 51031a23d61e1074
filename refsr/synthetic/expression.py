"""Paint what an expression changes over a person's skin: folds, eyes and mouth."""

import cv2
import numpy as np

from refsr.synthetic.canvas import Canvas, f32, noise, smooth
from refsr.synthetic.texture import SCALE, SIDES, X0, Y1, Skin
from refsr.synthetic.traits import Person, View


def paint_view(skin: Skin, who: Person, look: View) -> np.ndarray:
    """The whole face in one view, (SIZE, SIZE, 3) float32 sRGB."""
    age = float(np.clip(who.age + look.age_drift, 0, 1))
    lined = max(0.0, age - 0.3)
    image = cv2.addWeighted(skin.smooth, 1 - lined, skin.lined, lined, 0, dtype=cv2.CV_32F)
    canvas = Canvas(image, X0, Y1, SCALE)
    _folds(canvas, who, look, age)
    for side in SIDES:
        _eye(canvas.window(side * who.eyes.x, who.eyes.y, 0.2, 0.13), who, look, side)
    _mouth(canvas.window(0, who.mouth.y, 0.34, 0.2), who, look)
    return canvas.image


def _folds(canvas: Canvas, who: Person, look: View, age: float) -> None:
    mouth, smile = who.mouth, max(0.0, look.smile)
    near = canvas.window(0, mouth.y + 0.12, 0.5, 0.3)
    corner = mouth.width + 0.06 + 0.03 * smile
    fold = np.array(
        [
            [who.nose.width + 0.035, who.nose.base],
            [0.21, -0.42],
            [corner, mouth.y + 0.06],
            [corner + 0.004, mouth.y - 0.03 - 0.06 * age],
        ],
    )
    mask = near.strokes([fold * [side, 1] for side in SIDES], 0.02, 0.014)
    near.shade(mask * min(1.0, 0.12 + 0.55 * max(0, age - 0.2) + 0.4 * smile), (0.74, 0.62, 0.6))


def _lids(who: Person, look: View, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower edge of an eye, (29, 2) each, from its left end to its right."""
    eyes, t = who.eyes, np.linspace(-1, 1, 29)
    outward = t * side
    upper = eyes.height * (1 - np.abs(t) ** eyes.round) ** 0.85 * (1 + 0.12 * outward)
    lower = -eyes.height * (0.62 - 0.2 * max(0, look.smile)) * (1 - np.abs(t) ** 2.3)
    lower = lower * (1 + 0.12 * outward)
    upper = lower + (upper - lower) * min(1.12, look.blink)
    x = side * eyes.x + t * eyes.width
    y = eyes.y + eyes.tilt * eyes.width * outward * 0.5
    axis = np.stack([x, y], 1)
    return axis + np.stack([0 * t, upper], 1), axis + np.stack([0 * t, lower], 1)


def _eye(canvas: Canvas, who: Person, look: View, side: int) -> None:
    eyes = who.eyes
    upper, lower = _lids(who, look, side)
    opening = canvas.polygon(np.concatenate([upper, lower[::-1]]), 0.003)
    crease = upper[3:-2] + f32([0, 0.02 + 0.022 * eyes.crease])
    canvas.shade(canvas.strokes([crease], 0.012, 0.007) * eyes.crease, (0.62, 0.5, 0.47))
    canvas.tint(opening, _eyeball(canvas, who, look, side, upper))
    weight = 0.012 + 0.01 * eyes.lash + 0.014 * eyes.liner
    canvas.tint(canvas.strokes([upper + f32([0, 0.004])], weight, 0.003), (22, 15, 14), 0.92)
    canvas.tint(
        canvas.strokes([lower], 0.008 + 0.006 * eyes.liner, 0.004),
        (50, 28, 24),
        0.3 + 0.5 * eyes.liner,
    )
    if eyes.lash > 0.5:
        lashes = canvas.strokes(_lashes(upper, side, eyes.lash), 0.006, 0.002)
        canvas.tint(lashes, (18, 13, 12), 0.85)


def _lashes(upper: np.ndarray, side: int, length: float) -> list[np.ndarray]:
    lashes = []
    for k in range(4, 26, 2):
        outward = (k - 14) / 14 * side
        if outward > -0.55:
            x = side * 0.012 + 0.035 * (k - 14) / 14
            reach = length * np.array([x, 0.034 + 0.008 * outward])
            lashes.append(np.stack([upper[k], upper[k] + reach * (0.6 + 0.4 * (outward + 0.55))]))
    return lashes


def _eyeball(canvas: Canvas, who: Person, look: View, side: int, upper: np.ndarray) -> np.ndarray:
    """White, iris and pupil with a highlight, over the whole canvas."""
    eyes = who.eyes
    ball = np.empty_like(canvas.image)
    ball[:] = (226, 222, 218)
    edge = np.clip(np.abs(canvas.x - side * eyes.x) / eyes.width, 0, 1)
    ball *= (1 - 0.28 * edge**3)[..., None]
    inner = canvas.spot(side * (eyes.x - eyes.width * 0.97), eyes.y, 0.02, 0.03)
    ball += inner[..., None] * (np.array([196, 120, 112]) - ball)
    x, y = side * eyes.x + look.gaze[0] * 0.05, eyes.y + 0.006 + look.gaze[1] * 0.03
    _iris(ball, canvas.x - x, canvas.y - y, who)
    glint = canvas.spot(x + 0.018 * np.sign(look.light[0]), y + 0.02, 0.011, 0.011, 2)
    ball += 235 * glint[..., None]
    lid = np.interp(canvas.x[0], upper[:, 0], upper[:, 1])
    ball *= (1 - 0.5 * np.exp(-np.clip(lid[None] - canvas.y, 0, 1) / 0.016))[..., None]
    return np.asarray(np.clip(ball, 0, 255))


def _iris(ball: np.ndarray, x: np.ndarray, y: np.ndarray, who: Person) -> None:
    """Paint spokes (of the person), a dark limbal ring, a paler collarette and the pupil."""
    radius = np.hypot(x, y) / who.eyes.iris_size
    angle = np.arctan2(y, x)
    phase = np.random.default_rng([3, who.seed]).uniform(0, 2 * np.pi, 3)
    spokes = sum(np.sin(angle * (5 + 6 * i) + phase[i]) / (i + 1) for i in range(3))
    tone = (1.2 + 0.14 * spokes) * (1 - 0.65 * smooth(0.75, 1.0, radius))
    warm = smooth(0.75, 0.4, radius)[..., None] * np.array([0.42, 0.26, 0.1])
    colour = np.array(who.eyes.iris, np.float32) * tone[..., None] * (1 + warm)
    colour *= (1 - 0.95 * smooth(0.46, 0.38, radius))[..., None]
    ball += smooth(1.05, 0.96, radius)[..., None] * (colour - ball)


def mouth_opening(look: View) -> float:
    """The gap between the lips in the middle, head units."""
    return 0.085 * look.open


def _mouth(canvas: Canvas, who: Person, look: View) -> None:
    mouth, t = who.mouth, np.linspace(-1, 1, 41)
    apart = mouth_opening(look)
    x = t * mouth.width * (1 + 0.16 * look.smile)
    middle = mouth.y + (mouth.curve + 0.075 * look.smile) * np.abs(t) ** 1.8
    bow, arch = _bow(who, t), 1 - t**2
    inner_top, inner_bottom = middle + 0.35 * apart * arch, middle - 0.65 * apart * arch
    top = inner_top + mouth.upper * arch**0.75 * bow * (1 - 0.15 * max(0, look.smile))
    bottom = inner_bottom - mouth.lower * arch**0.62 * (1 - 0.15 * max(0, look.smile))
    lips = canvas.polygon(_ring(x, top, bottom), 0.007)
    _lips(canvas, who, lips, float(middle[20]) - 0.65 * apart)
    if apart > 0.015:
        _inside(canvas, x * 0.95, inner_top, inner_bottom)
    seam = [np.stack([x, inner_top], 1)] if apart <= 0.015 else []
    lines = canvas.strokes(seam + _corners(x[-1], middle[-1]), 0.011, 0.005)
    canvas.tint(lines, np.array(who.skin) * 0.22, 0.75)
    below = canvas.spot(0, float(bottom[20]) - 0.035, mouth.width * 0.5, 0.018)
    canvas.shade(below, (0.86, 0.8, 0.78))


def _bow(who: Person, t: np.ndarray) -> np.ndarray:
    """Thickness of the upper lip along the mouth, t in [-1, 1]: a dip between two peaks."""
    dip = who.mouth.bow * np.exp(-((t / 0.14) ** 2))
    peaks = 0.12 * np.exp(-(((np.abs(t) - 0.27) / 0.16) ** 2))
    return np.asarray(1 - dip + peaks)


def _corners(x: float, y: float) -> list[np.ndarray]:
    return [np.array([[s * x, y], [s * (x + 0.012), y + 0.004]]) for s in SIDES]


def _ring(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.concatenate([np.stack([x, top], 1), np.stack([x[::-1], bottom[::-1]], 1)])


def _lips(canvas: Canvas, who: Person, lips: np.ndarray, lower_y: float) -> None:
    mouth = who.mouth
    creases = noise(np.random.default_rng([4, who.seed]), lips.shape, [40, 90], 0.1)
    skin = np.array(who.skin) * [0.92, 0.74, 0.74] * (1 - mouth.strength)
    colour = skin + np.array(mouth.colour) * mouth.strength
    canvas.tint(lips, colour * (1 + 0.05 * creases[..., None]), 0.92)
    canvas.shade(lips * (canvas.y > lower_y), (0.84, 0.8, 0.8))
    shine = canvas.spot(0, lower_y - mouth.lower * 0.45, mouth.width * 0.35, 0.011) * lips
    canvas.image += 30 * shine[..., None]


def _inside(canvas: Canvas, x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> None:
    gap = canvas.polygon(_ring(x, top, bottom), 0.003)
    canvas.tint(gap, (56, 20, 22), 0.95)
    tongue = canvas.spot(0, float(bottom[20]) - 0.005, 0.1, 0.02) * gap
    canvas.tint(tongue, (150, 66, 66), 0.8)
    row = top - np.minimum(0.05, 0.62 * (top - bottom))
    teeth = canvas.polygon(_ring(x * 0.9, top, row), 0.003) * gap
    shade = 0.94 - 0.1 * np.abs(canvas.x / 0.2) ** 2 - 0.1 * (np.abs(np.sin(canvas.x * 58)) < 0.13)
    canvas.tint(teeth, np.array([236, 230, 220]) * shade[..., None], 0.95)
