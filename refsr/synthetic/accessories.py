"""Accessories of a person: glasses, earrings, a nose ring, made of rods and balls."""

import numpy as np

from refsr.synthetic.canvas import f32
from refsr.synthetic.geometry import Head, ear_side
from refsr.synthetic.surface import Surface, ball, tube
from refsr.synthetic.texture import SIDES
from refsr.synthetic.traits import Glasses, Person

# Each outline: exponent of the superellipse, lift of the outer corner, narrowing below.
OUTLINES = {
    "round": (2.0, 0.0, 0.0),
    "square": (4.5, 0.0, 0.0),
    "oval": (2.4, 0.0, 0.1),
    "cat": (3.0, 0.35, 0.15),
    "aviator": (2.8, 0.05, -0.22),
}


def accessories(who: Person, neutral: Head) -> list[Surface]:
    """The accessories of a person, fixed to the neutral head."""
    surfaces = _glasses(who, who.glasses, neutral) if who.glasses else []
    if who.earring:
        surfaces += [_earring(who, side) for side in SIDES]
    if who.nose_ring:
        place = _on_face(neutral, who.nose.width * 0.95, who.nose.base + 0.01)
        surfaces.append(ball(place + f32([0.005, 0, 0.005]), 0.02, who.nose_ring, 0.9))
    return surfaces


def _on_face(neutral: Head, x: float, y: float) -> np.ndarray:
    """The point of the head in front at (x, y)."""
    points = neutral.position[:, np.abs(neutral.angle) < 1.4].reshape(-1, 3)
    return np.asarray(points[np.argmin(np.square(points[:, :2] - f32([x, y])).sum(1))])


def _glasses(who: Person, frame: Glasses, neutral: Head) -> list[Surface]:
    centre_x, centre_y = 0.05 + frame.width, who.eyes.y - 0.015
    depth = float(_on_face(neutral, 0, who.eyes.y + 0.03)[2]) + 0.045
    rods = []
    for side in SIDES:
        rim = _rim(frame, side, centre_x, centre_y, depth)
        rods.append(tube(rim, frame.rim, frame.colour, 0.6, closed=True))
        hinge = rim[np.argmax(side * rim[:, 0] + 0.5 * rim[:, 1])]
        ear = f32([side * (ear_side(who) + 0.035), 0.07, -0.1])
        temple = hinge + np.linspace(0, 1, 8)[:, None] ** [0.45, 1, 1] * (ear - hinge)
        rods.append(tube(temple, frame.rim * 0.9, frame.colour, 0.6))
    across = np.linspace(-1, 1, 9)
    arch = np.stack(
        [across * 0.062, centre_y + 0.03 + 0.02 * (1 - across**2), depth + 0.01 * (1 - across**2)],
        1,
    )
    return [*rods, tube(arch, frame.rim * 0.9, frame.colour, 0.6)]


def _rim(frame: Glasses, side: int, x: float, y: float, depth: float) -> np.ndarray:
    """The rim around one eye, (40, 3), bent around the face."""
    power, lift, narrow = OUTLINES[frame.outline]
    angle = np.linspace(0, 2 * np.pi, 41)[:-1]
    c, s = np.cos(angle), np.sin(angle)
    out = np.sign(c) * np.abs(c) ** (2 / power)
    up = np.sign(s) * np.abs(s) ** (2 / power)
    out = out * (1 + narrow * np.minimum(up, 0))
    up = up + lift * np.maximum(out, 0) ** 2 * (up > -0.2)
    px = side * (x + frame.width * out * 0.98)
    return np.stack([px, y + frame.height * up, depth - 0.32 * px**2], 1)


def _earring(who: Person, side: int) -> Surface:
    kind, colour = who.earring or ("stud", who.skin)
    lobe = np.array([side * (ear_side(who) + 0.06), -0.18 * who.shape.ear, -0.02])
    if kind == "stud":
        return ball(lobe, 0.032, colour, 0.9)
    if kind == "drop":
        return ball(lobe - [0, 0.1, 0], (0.03, 0.085, 0.03), colour, 0.9)
    angle = np.linspace(0, 2 * np.pi, 33)[:-1]
    ring = np.stack([0 * angle, np.cos(angle) - 1, np.sin(angle)], 1) * 0.095
    turned = ring @ np.array([[0.7, 0, 0.7], [0, 1, 0], [-0.7, 0, 0.7]])
    return tube(lobe + turned * [side, 1, 1], 0.013, colour, 0.9, closed=True)
