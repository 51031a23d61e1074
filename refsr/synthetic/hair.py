"""Hair as ribbons: rooted on the scalp, combed by style, outside the head, gathered in locks."""

from dataclasses import dataclass

import numpy as np

from refsr.synthetic.canvas import f32, smooth
from refsr.synthetic.geometry import Head
from refsr.synthetic.surface import (
    CHANNELS,
    COLOUR,
    GLOSS,
    NORMAL,
    TEXTURED,
    Surface,
    ball,
    surface,
)
from refsr.synthetic.traits import Person

STRANDS = 1536
COLUMNS = 12  # strands side by side in the grid
SKULL = f32([0.0, 0.2, -0.04])


@dataclass(frozen=True)
class Style:
    """A hair style.

    `top` and `sides` are lengths; `lift` (off the scalp), `gravity` and `curl` are in [0, 1];
    `flow` is the direction of the comb.
    """

    top: float
    sides: float
    lift: float
    gravity: float
    curl: float
    flow: str
    width: float = 0.04
    fringe: bool = False
    taper: float = 0.75
    points: int = 6  # of a strand


STYLES = {
    "short": Style(0.22, 0.12, 0.35, 0.2, 0.1, "side"),
    "crop": Style(0.14, 0.07, 0.25, 0.2, 0.05, "forward"),
    "side": Style(0.36, 0.14, 0.4, 0.3, 0.05, "side"),
    "swept": Style(0.42, 0.18, 0.35, 0.15, 0.05, "back"),
    "spiky": Style(0.24, 0.12, 1.0, 0.05, 0.1, "up"),
    "curly": Style(0.3, 0.18, 0.8, 0.25, 0.9, "out", points=9),
    "buzz": Style(0.035, 0.03, 0.5, 0.0, 0.0, "back", 0.02),
    "shag": Style(0.5, 0.42, 0.3, 0.6, 0.3, "down", fringe=True),
    "pixie": Style(0.3, 0.2, 0.3, 0.35, 0.1, "side", fringe=True),
    "long": Style(1.75, 1.35, 0.1, 0.9, 0.06, "part", 0.075, taper=0.4, points=9),
    "wavy": Style(1.6, 1.25, 0.2, 0.8, 0.5, "part", 0.07, taper=0.5, points=9),
    "bob": Style(1.05, 0.75, 0.15, 0.9, 0.05, "part", 0.07, taper=0.3, points=9),
    "lob": Style(1.3, 0.95, 0.15, 0.85, 0.25, "part", 0.07, taper=0.4, points=9),
    "fringe": Style(1.15, 0.9, 0.15, 0.9, 0.05, "down", 0.07, fringe=True, taper=0.3, points=9),
    "curls": Style(1.0, 0.85, 0.5, 0.6, 1.0, "part", 0.06, taper=0.5, points=9),
    "bun": Style(0.6, 0.45, 0.03, 0.0, 0.03, "back"),
    "afro": Style(0.42, 0.38, 1.0, 0.0, 1.0, "out", 0.05, points=9),
}


def hairline(who: Person, angle: np.ndarray) -> np.ndarray:
    """Height of the edge of the hair around the head, by angle from the front."""
    hair = who.hair
    knots = [0, 0.22, 0.5, 0.85, 1.15, 1.35, 1.6, 1.9, 2.4, np.pi]
    if hair.style == "bald":
        heights = [1.2, 1.2, 1.2, 1.1, 0.4, 0.1, 0.25, -0.05, -0.3, -0.32]
    else:
        top, temple = hair.hairline, hair.hairline + hair.recess
        front = [top - hair.peak, top, temple, 0.36 + 0.4 * hair.recess]
        heights = [*front, 0.2, 0.0, 0.2, -0.1, -0.4, -0.42]
    return np.asarray(np.interp(np.abs(angle), knots, heights))


def scalped(who: Person, bare: Head) -> Head:
    """The head with a scalp: sunk a little and of the hair's colour where hair covers it."""
    cover = _cover(who, bare)
    carried, bald = bare.carried.copy(), who.hair.style == "bald"
    below = np.array(who.hair.colour) * 0.5
    colour, strength = carried[..., COLOUR], 0.3 if bald else 0.9
    carried[..., COLOUR] += cover[..., None] * strength * (below - colour)
    carried[..., TEXTURED] *= 1 - cover
    sunk = 0.0 if bald or who.hair.style == "buzz" else 0.045
    position = bare.position + (sunk * cover)[..., None] * (SKULL - bare.position)
    return Head(position.astype(np.float32), bare.angle, carried)


def _cover(who: Person, bare: Head) -> np.ndarray:
    """Where the head is covered by hair, (R, C) in [0, 1]."""
    return smooth(-0.015, 0.035, bare.position[..., 1] - hairline(who, bare.angle)[None])


def hair(who: Person, bare: Head) -> list[Surface]:
    """The hair of a person."""
    style = STYLES.get(who.hair.style)
    if style is None:
        return []
    rng = np.random.default_rng([9, who.seed])
    roots, outward, at_side = _roots(rng, bare, _cover(who, bare))
    length = style.top + (style.sides - style.top) * at_side
    fringe = smooth(0.3, 0.5, roots[:, 2]) * smooth(0.44, 0.36, np.abs(roots[:, 0])) * style.fringe
    length = length + fringe * (0.36 + 0.6 * (roots[:, 1] - 0.6) - length)
    length = np.maximum(length, 0.03) * rng.uniform(0.85, 1.08, len(roots))
    strands = _grow(rng, who, style, roots, outward, length, fringe)
    strands = _gather(rng, strands, 0.2 + 0.35 * style.curl)
    extra = [_bun(who)] if who.hair.style == "bun" else []
    extra += [_curtain(who, float(strands[..., 1].min()))] if style.sides > 0.7 else []
    return [_ribbons(rng, who, style, strands), *extra]


def _roots(
    rng: np.random.Generator,
    bare: Head,
    cover: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on the scalp, evenly by area.

    Returns:
        Positions (N, 3), normals (N, 3), and how much each is at the side, (N,) in [0, 1].
    """
    across, down = np.gradient(bare.position, axis=1), np.gradient(bare.position, axis=0)
    normals = np.cross(down, across)
    weight = np.cumsum(np.linalg.norm(normals, axis=-1) * (cover > 0.35))
    even = (np.arange(STRANDS) + rng.uniform(0, 1, STRANDS)) / STRANDS
    chosen = np.searchsorted(weight, even * weight[-1])
    points = bare.position.reshape(-1, 3)[chosen] + rng.normal(0, 0.012, (STRANDS, 3))
    return points, _unit(normals.reshape(-1, 3)[chosen]), smooth(0.62, 0.25, points[:, 1])


def _comb(
    who: Person,
    style: Style,
    roots: np.ndarray,
    outward: np.ndarray,
    fringe: np.ndarray,
) -> np.ndarray:
    """The direction in which hair leaves its root, (N, 3), before it is lifted off the scalp."""
    comb = outward if style.flow == "out" else _flow(who, style, roots)
    if style.fringe:
        lean = np.sign(who.hair.part)
        x, one = roots[:, 0], np.ones(len(roots), roots.dtype)
        forward = np.stack([0.35 * lean + 0.4 * x, -0.5 * one, one], 1)
        comb = comb + fringe[:, None] * (forward - comb)
    flat = comb - (comb * outward).sum(1, keepdims=True) * outward
    return _unit(flat + 1e-4) if style.flow != "out" else outward


def _flow(who: Person, style: Style, roots: np.ndarray) -> np.ndarray:
    x, y, z = roots.T
    away = np.sign(x - who.hair.part) + 0.01
    zero, one = np.zeros_like(x), np.ones_like(x)
    top = smooth(0.35, 0.7, y)
    flows = {
        "back": (0.35 * x, 0.2 * z, -one),
        "forward": (0.2 * x, -0.2 - 0.6 * (1 - top), 0.9 * one),
        "side": (away * top * 1.0, -(1 - top), 0.15 - 0.6 * (1 - top)),
        "part": (away * (0.35 + 0.65 * top), -(1 - top), -0.55 * one),
        "down": (x, -0.4 * one, z + 0.1),
        "up": (0.3 * x, one, 0.25 + zero),
    }
    return np.stack(flows[style.flow], 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9))


def _grow(
    rng: np.random.Generator,
    who: Person,
    style: Style,
    roots: np.ndarray,
    outward: np.ndarray,
    length: np.ndarray,
    fringe: np.ndarray,
) -> np.ndarray:
    """Strands as points, (N, P, 3)."""
    lift = style.lift * rng.uniform(0.7, 1.3, len(roots))[:, None]
    comb = _comb(who, style, roots, outward, fringe) + lift * outward
    direction = _unit(comb + rng.normal(0, 0.09, roots.shape))
    step = (length / (style.points - 1))[:, None]
    phase = rng.uniform(0, 2 * np.pi, len(roots)) * 0.35
    phase = (phase + 9 * roots[:, 0] + 7 * roots[:, 1])[:, None]
    points, place = [roots], roots
    for k in range(1, style.points):
        pull = style.gravity * 0.42 * np.minimum(step / 0.05, 1.6)
        direction = _unit(direction + pull * f32([0, -1, 0]))
        turn = phase + k * (1.1 + 0.5 * style.curl)
        coil = np.concatenate([np.cos(turn), 0.3 * np.sin(2 * turn), np.sin(turn)], 1) * style.curl
        place = _outside(place + step * _unit(direction + 0.75 * coil), 0.02 + 0.04 * style.lift)
        place = _parted(place, who, fringe)
        points.append(place)
    return np.stack(points, 1)


def _outside(points: np.ndarray, gap: float) -> np.ndarray:
    """Push points out of the head: an ellipsoid above its middle, a tapering pillar below."""
    radii = f32([0.69, 0.80, 0.86]) + gap
    away = (points - SKULL) / radii
    away[:, 1] = np.maximum(away[:, 1], 0)
    taper = 1 - 0.16 * smooth(0.1, -0.8, points[:, 1])
    level = np.linalg.norm(away, axis=1) / taper
    push = np.maximum(1, 1 / (level + 1e-6))[:, None]
    level_push = 1 + f32([1, 0, 1]) * (push - 1)
    factor = np.where(points[:, 1:2] > SKULL[1], push, level_push)
    return np.asarray(SKULL + (points - SKULL) * factor)


def _parted(points: np.ndarray, who: Person, fringe: np.ndarray) -> np.ndarray:
    """Keep hair beside the face, not in front of it, except for a fringe."""
    x, y, z = points.T
    guard = (who.shape.cheekbone - 0.03) * smooth(0.74, 0.36, y) * smooth(-0.05, 0.25, z)
    guard = guard * (1 - fringe)
    guard *= 1 - 0.12 * smooth(-0.3, -0.9, y)
    side = np.where(x > who.hair.part, 1, -1)
    back = z - 0.1 * smooth(0.3, -0.2, y) * smooth(0.25, 0.6, z) * (1 - fringe)
    return np.stack([side * np.maximum(side * x, guard), y, back], 1)


def _gather(rng: np.random.Generator, strands: np.ndarray, strength: float) -> np.ndarray:
    """Draw the tips of strands together into locks."""
    guides = strands[rng.choice(len(strands), len(strands) // 9, replace=False)]
    distance = np.square(strands[:, None, 0] - guides[None, :, 0]).sum(-1)
    guide = guides[np.argmin(distance, 1)]
    along = np.linspace(0, 1, strands.shape[1])[None, :, None] ** 1.5
    return np.asarray(strands + strength * along * (guide - strands))


def _ribbons(rng: np.random.Generator, who: Person, style: Style, strands: np.ndarray) -> Surface:
    """Flat ribbons lying on the head, many strands side by side in one grid."""
    count, points = strands.shape[:2]
    tangent = np.gradient(strands, axis=1)
    level = np.where(strands[..., 1:2] > SKULL[1], 1, [1, 0.15, 1])
    outward = _unit((strands - SKULL) * [1, 0.8, 1] * level)
    across = _unit(np.cross(tangent, outward))
    along = np.linspace(0, 1, points)[None, :, None]
    root = np.minimum(1, 0.3 + 3.5 * along)  # narrow here too
    shape = root * (1 - style.taper * along**2)
    width = style.width * shape * rng.uniform(0.6, 1.25, (count, 1, 1))
    carried = np.zeros((count, points, 2, CHANNELS), np.float32)
    tilt = rng.normal(0, 0.28, (count, 1, 1))
    normal = _unit(outward + tilt * across)
    for i, side in enumerate((-1, 1)):
        carried[:, :, i, NORMAL] = _unit(normal + 0.3 * side * across)
    carried[..., COLOUR] = _colours(rng, who, strands)[:, :, None]
    carried[..., GLOSS] = 0.3
    position = np.stack([strands - width * across / 2, strands + width * across / 2], 2)
    return Surface(_side_by_side(position.astype(np.float32)), _side_by_side(carried), (points, 2))


def _colours(rng: np.random.Generator, who: Person, strands: np.ndarray) -> np.ndarray:
    """Colours along strands, (N, P, 3)."""
    count, points = strands.shape[:2]
    along = np.linspace(0, 1, points)[None, :, None]
    shade = np.exp(rng.normal(0, 0.2, (count, 1, 1))) * (0.62 + 0.45 * along**0.7)
    streak = 1 + 0.12 * np.sin(14 * strands[:, :1, :1] + 3) + rng.normal(0, 0.04, (count, 1, 3))
    return np.asarray(np.clip(np.array(who.hair.colour) * shade * streak, 0, 255))


def _side_by_side(strands: np.ndarray) -> np.ndarray:
    """(N, P, 2, K) -> a grid of COLUMNS strands side by side, (N / COLUMNS * P, COLUMNS * 2, K)."""
    count, points, _, channels = strands.shape
    blocks = strands.reshape(count // COLUMNS, COLUMNS, points, 2, channels)
    blocks = blocks.transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks.reshape(-1, COLUMNS * 2, channels))


def _bun(who: Person) -> Surface:
    return ball(f32([0, 0.62, -0.78]), 0.27, np.array(who.hair.colour) * 0.85, 0.3)


def _curtain(who: Person, bottom: float) -> Surface:
    """The inside of long hair behind the neck, as it is seen from the front."""
    angle = np.linspace(-1.75, 1.75, 15)
    y = np.linspace(0.3, bottom + 0.12, 6)[:, None] * np.ones_like(angle)
    position = np.stack([-0.6 * np.sin(angle) + 0 * y, y, -0.08 - 0.6 * np.cos(angle) + 0 * y], -1)
    streak = 1 + 0.15 * np.sin(17 * angle)[None, :, None]
    return surface(position, np.array(who.hair.colour) * 0.4 * streak, 0.05)
