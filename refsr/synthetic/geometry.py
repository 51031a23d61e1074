"""Head with its features, ears, neck and clothes, as surfaces in head units."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from refsr.synthetic.canvas import f32, smooth
from refsr.synthetic.expression import mouth_opening
from refsr.synthetic.surface import PLACE, TEXTURED, Surface, grid_normals, surface
from refsr.synthetic.texture import SIDES, texture_place
from refsr.synthetic.traits import Person, View

COLUMNS = 105
# Height of the edge, and its depth in front.
COLLARS = {"crew": (-1.22, 0.06), "v": (-1.2, 0.45), "turtle": (-1.02, 0.0), "shirt": (-1.14, 0.3)}
PIVOT = np.array([0.0, -0.62, -0.12], np.float32)  # the joint about which the head turns


@dataclass(frozen=True)
class Head:
    """A neutral head. Angle 0 is the front, pi the back."""

    position: np.ndarray  # (R, C, 3)
    angle: np.ndarray  # (C,)
    carried: np.ndarray  # (R, C, CHANNELS), without normals


@cache
def _rows() -> np.ndarray:
    """Heights of the rows at the front, from crown to chin; dense from brows to chin."""
    top = 0.25 + 0.75 * np.cos(np.linspace(0, np.pi / 2, 22))
    return np.concatenate([top, np.linspace(0.25, -0.72, 62)[1:], np.linspace(-0.72, -1, 12)[1:]])


def _angles() -> np.ndarray:
    u = np.linspace(-1, 1, COLUMNS)
    return np.asarray(np.pi * (0.4 * u + 0.6 * u**3))


def _profile(knots: list[float], values: list[float]) -> np.ndarray:
    """A smooth curve through (y, value) knots, at 600 heights in [-1, 1]."""
    y = np.linspace(-1, 1, 600)
    line = np.interp(y, knots, values).astype(np.float32)[None]
    return np.asarray(cv2.GaussianBlur(line, (0, 0), 14, borderType=cv2.BORDER_REPLICATE)[0])


def _dome(y: np.ndarray, curve: np.ndarray, start: float = 0.42) -> np.ndarray:
    """Values of a profile at heights y, closed over `start` by a rounded skull."""
    t = np.clip((y - start) / (1 - start), 0, 1)
    return np.asarray(np.interp(y, np.linspace(-1, 1, 600), curve) * (1 - t**2.3) ** 0.5)


def _outline(who: Person, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Half-width, front and back of the head at heights y."""
    back = _profile([-1, -0.6, -0.35, 0.0, 0.35, 1], [0.25, 0.4, 0.55, 0.74, 0.84, 0.84])
    return _dome(y, _width(who)), _dome(y, _front(who)), _dome(y, back)


def _width(who: Person) -> np.ndarray:
    s = who.shape
    below, temple = 0.45 * s.jaw + 0.57 * s.cheekbone, (s.cheekbone + s.cranium) / 2
    chin = [s.chin, 0.75 * s.chin + 0.3 * s.jaw]
    jaw = [0.87 * s.jaw, s.jaw]
    skull = [below, s.cheekbone, temple, s.cranium, s.cranium]
    heights = [-1, -0.88, -0.75, -0.6, -0.4, -0.15, 0.1, 0.4, 1]
    return _profile(heights, [*chin, *jaw, *skull])


def _front(who: Person) -> np.ndarray:
    chin = [0.69, 0.77, 0.79, 0.755, 0.79, 0.805]
    cheeks = [0.8, 0.8, 0.81, 0.835]
    forehead = [0.82 + who.shape.forehead, 0.78 + who.shape.forehead]
    heights = [-1, -0.93, -0.84, -0.74, -0.64, -0.52, -0.4, -0.1, 0.1, 0.22, 0.4, 1]
    return _profile(heights, [*chin, *cheeks, *forehead])


def head(who: Person) -> Head:
    """The neutral head of a person, with all that its vertices carry but the normals."""
    angle = _angles()
    side = np.abs(angle)
    bottom = -1 + 0.36 * smooth(0.4, 1.4, side) + 0.26 * smooth(1.4, 2.6, side)
    y = _rows()[:, None] * np.ones_like(angle)
    y = np.where(y < 0.2, 0.2 + (y - 0.2) * (0.2 - bottom) / 1.2, y)
    width, front, back = _outline(who, y)
    sine, cosine = np.sin(angle), np.cos(angle)
    x = width * np.sign(sine) * np.abs(sine) ** 0.86
    z = np.where(cosine > 0, front, back) * np.sign(cosine) * np.abs(cosine) ** 0.86
    z = z + _features(who, x, y) * smooth(0.05, 0.45, cosine)
    position = _close(np.stack([x, y, z], -1).astype(np.float32))
    return Head(position, angle, _head_carried(who, position, angle))


def _close(position: np.ndarray) -> np.ndarray:
    """Curl the jaw's edge inwards under the chin."""
    edge, centre = position[-1], f32([0, 0, 0.1])
    rows = [position]
    for shrink, drop in [
        (0.985, 0.02),
        (0.95, 0.036),
        (0.89, 0.046),
        (0.78, 0.048),
        (0.6, 0.035),
        (0.3, 0.0),
    ]:
        row = (edge - centre) * [shrink, 1, shrink] + centre - [0, drop, 0]
        rows.append(row[None].astype(np.float32))
    return np.concatenate(rows)


def _head_carried(who: Person, position: np.ndarray, angle: np.ndarray) -> np.ndarray:
    carried = surface(position, who.skin, 0.22).carried
    carried[..., PLACE] = np.stack(texture_place(position[..., 0], position[..., 1]), -1)
    front = smooth(0.02, 0.3, np.cos(angle))[None]
    carried[..., TEXTURED] = front * smooth(0.72, 0.6, position[..., 1])
    return carried


def bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    """A Gaussian bump of height 1.

    Args:
        x: Places, head units.
        y: Places, head units.
        cx: Centre.
        cy: Centre.
        sx: Standard deviation along x.
        sy: Standard deviation along y.

    Returns:
        Heights, with the shape of x and y.
    """
    return np.asarray(np.exp(-(((x - cx) / sx) ** 2 + ((y - cy) / sy) ** 2) / 2))


def _features(who: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far the features protrude from the plain head, along z."""
    return np.asarray(_nose(who, x, y) + _sockets(who, x, y) + _lips(who, x, y))


def _nose(who: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    n = who.nose
    along = smooth(who.eyes.y + 0.1, n.base + 0.04, y)
    height = n.bridge + (n.out - n.bridge) * along**1.3 + n.hook * np.sin(np.pi * along)
    ridge = height * smooth(n.base - 0.055, n.base + 0.02, y) * smooth(0.24, 0.02, y)
    out = ridge * np.exp(-((x / (0.055 + 0.36 * n.width * along**2)) ** 2) / 1.7)
    out += (0.035 + n.tip) * bump(x, y, 0, n.base + 0.035, 0.05, 0.042)
    for side in SIDES:
        out += 0.075 * bump(x, y, side * n.width * 0.85, n.base + 0.012, 0.032, 0.034)
    return np.asarray(out)


def _sockets(who: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    e, s, out = who.eyes, who.shape, np.zeros_like(x)
    for side in SIDES:
        out += (0.015 + s.brow_ridge) * bump(x, y, side * e.x * 0.85, e.y + 0.16, 0.15, 0.05)
        out -= 0.075 * bump(x, y, side * (e.x - 0.03), e.y + 0.02, 0.12, 0.085)
        out += 0.05 * bump(x, y, side * e.x, e.y, 0.085, 0.055)
        out += (0.02 + s.cheek) * bump(x, y, side * 0.38, -0.16, 0.13, 0.1)
        out -= 0.02 * bump(x, y, side * 0.42, -0.45, 0.1, 0.14)
    return np.asarray(out + s.chin_out * bump(x, y, 0, -0.88, 0.15, 0.09))


def _lips(who: Person, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    m = who.mouth
    out = 0.035 * bump(x, y, 0, m.y, 0.22, 0.13)
    out += 0.03 * bump(x, y, 0, m.y + m.upper * 0.55, m.width * 0.6, 0.022)
    out += 0.036 * bump(x, y, 0, m.y - m.lower * 0.6, m.width * 0.52, 0.027)
    out -= 0.02 * bump(x, y, 0, m.y, m.width * 0.9, 0.010)
    out -= 0.028 * bump(x, y, 0, m.y - 0.14, 0.13, 0.035)
    return np.asarray(out - 0.012 * bump(x, y, 0, m.y + 0.11, 0.022, 0.05))


def express(neutral: Head, who: Person, look: View) -> Surface:
    """The head with an expression, which moves brows, cheeks, jaw and corners of the mouth."""
    x, y, z = (neutral.position[..., i].copy() for i in range(3))
    front = smooth(0.1, 0.5, np.cos(neutral.angle))[None]
    apart, smile, mouth = mouth_opening(look), max(0.0, look.smile), who.mouth.y
    moved = y + look.brow * front * (bump(np.abs(x), y, 0.27, who.eyes.y + 0.2, 0.2, 0.09))
    jaw = smooth(-0.2, 0.6, np.cos(neutral.angle))[None]
    moved -= 0.7 * apart * smooth(mouth - 0.08, mouth - 0.3, y) * jaw
    cheeks = bump(np.abs(x), y, 0.36, -0.26, 0.1, 0.1)
    z += front * smile * (0.05 * cheeks - 0.03 * bump(x, y, 0, mouth, 0.2, 0.06))
    z -= front * 0.5 * apart * bump(x, y, 0, mouth - 0.3 * apart, 0.14, 0.4 * apart + 0.01)
    position = np.stack([x, moved + 0.015 * smile * cheeks * front, z], -1).astype(np.float32)
    carried = neutral.carried.copy()
    carried[..., :3] = grid_normals(position)
    return Surface(position, carried, (len(position), COLUMNS))


def landmarks(neutral: Head, expressed: Surface, who: Person, look: View) -> np.ndarray:
    """Eyes, tip of the nose and corners of the mouth, left in the image first.

    Args:
        neutral: The neutral head.
        expressed: The same head with the expression of `look`.
        who: The person.
        look: The view.

    Returns:
        (5, 3), head units.
    """
    mouth = who.mouth
    corner_x = mouth.width * (1 + 0.16 * look.smile)
    corner_y = mouth.y + mouth.curve + 0.075 * look.smile
    places = [(-who.eyes.x, who.eyes.y), (who.eyes.x, who.eyes.y), (0, who.nose.base + 0.035)]
    places += [(-corner_x, corner_y), (corner_x, corner_y)]
    front = neutral.position[:, np.abs(neutral.angle) < np.pi / 2].reshape(-1, 3)
    moved = expressed.position[:, np.abs(neutral.angle) < np.pi / 2].reshape(-1, 3)
    return np.stack([moved[np.argmin(np.square(front[:, :2] - place).sum(1))] for place in places])


def face_hull(neutral: Head, expressed: Surface) -> np.ndarray:
    """The vertices, (N, 3), whose bounds are the face box: chin to forehead, cheek to cheek."""
    y = neutral.position[..., 1]
    return np.asarray(expressed.position[(y < 0.5) & (np.abs(neutral.angle) < 1.0)[None]])


def ears(who: Person) -> list[Surface]:
    """A bowl with a rolled rim at each side."""
    angles, radii = np.linspace(0, 2 * np.pi, 33), np.linspace(0.02, 1, 12)
    angle, radius = np.meshgrid(angles, radii, indexing="xy")
    size = who.shape.ear
    lobe = 1 + 0.16 * np.cos(angle - 1.1) - 0.12 * np.cos(2 * angle)
    up = 0.17 * size * radius * np.sin(angle) * 1.05
    fore = -0.1 * size * radius * np.cos(angle) * lobe
    out = _ear_relief(radius) * (0.55 + 0.45 * np.cos(angle)) + 0.02 * (1 - radius)
    shade = (0.6 + 0.45 * smooth(0.2, 0.75, radius))[..., None]
    colour = np.array(who.skin) * [1.02, 0.87, 0.84] * shade
    grids = []
    for side in SIDES:
        x = side * (ear_side(who) + out)
        position = np.stack([x, 0.0 + up, -0.07 + fore - 0.25 * out], -1)
        grids.append(surface(position[:, ::side], colour[:, ::side], 0.1))
    return grids


def _ear_relief(radius: np.ndarray) -> np.ndarray:
    relief = 0.075 * smooth(0.3, 0.86, radius) - 0.05 * smooth(0.88, 1, radius)
    return np.asarray(relief + 0.02 * np.sin(9 * radius))


def ear_side(who: Person) -> float:
    """|x| of the root of an ear."""
    return float(np.interp(0.0, [-0.15, 0.4], [who.shape.cheekbone, who.shape.cranium])) * 0.985


def torso(who: Person, look: View) -> list[Surface]:
    """The neck, and clothes with the collar of the view."""
    angle = np.linspace(-np.pi, np.pi, 65)
    neck = 0.36 if who.male else 0.3
    collar = COLLARS[look.collar]
    edge = collar[0] - collar[1] * smooth(0.6, 0.0, np.abs(angle))
    edge = edge + 0.05 * smooth(1, 3, np.abs(angle))
    down = np.linspace(0, 1, 40)[:, None]
    skin = _body(neck, angle, -0.55 + (edge - 0.06 + 0.55) * down, 0.0)
    swell = 0.03 * smooth(0, 0.06, down) + 0.012
    cloth = _body(neck, angle, edge - (2.4 + edge) * down**1.3, swell)
    shade = 0.5 + 0.5 * smooth(-0.85, -1.15, skin[..., 1:2])
    fabric = np.array(look.cloth) * (0.82 + 0.18 * smooth(0.02, 0.05, down))[..., None]
    return [surface(skin, np.array(who.skin) * 0.97 * shade, 0.08), surface(cloth, fabric, 0.03)]


def _body(neck: float, angle: np.ndarray, y: np.ndarray, swell: np.ndarray | float) -> np.ndarray:
    """Points of the neck and shoulders at heights y, `swell` units outside the skin."""
    y = np.broadcast_to(y, np.broadcast_shapes(np.shape(y), angle.shape))
    slope = smooth(-0.95, -1.5, y)
    wide = neck + 0.1 * smooth(-0.8, -1.1, y) + (1.05 - neck) * slope**1.6 + swell
    deep = neck * 0.95 + 0.2 * slope + swell
    z = -0.16 + deep * np.cos(angle)
    return np.stack([wide * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.8, y, z], -1)
