"""Who a rendered person is, and what changes between two pictures of them.

Lengths are in head units: the head spans y from -1 (chin) to 1 (crown), x grows to the right of the picture and z
towards the camera. Colours are sRGB, 0-255.
"""

from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """The bones: half-widths of the head at four heights, and how far parts stand out."""

    cranium: float
    cheekbone: float
    jaw: float
    chin: float
    forehead: float
    cheek: float
    brow_ridge: float
    chin_out: float
    ear: float


@dataclass(frozen=True)
class Eyes:
    """Half-width and half-height of the opening, tilt of its axis, crease of the lid, lashes and liner in [0, 1]."""

    x: float
    y: float
    width: float
    height: float
    tilt: float
    round: float
    crease: float
    lash: float
    liner: float
    bag: float
    iris: Colour
    iris_size: float


@dataclass(frozen=True)
class Brows:
    """Middle height above the eye, half-thickness, arch, slope, density; `slit` is where a bare gap is, or 0."""

    height: float
    thickness: float
    arch: float
    slope: float
    length: float
    density: float
    inner: float
    slit: float


@dataclass(frozen=True)
class Nose:
    """Height of the base, half-width, how far tip and bridge stand out, roundness of the tip."""

    base: float
    width: float
    out: float
    bridge: float
    tip: float
    hook: float


@dataclass(frozen=True)
class Mouth:
    """Height, half-width, thickness of the lips, depth of the bow, resting curve, colour and how strong it is."""

    y: float
    width: float
    upper: float
    lower: float
    bow: float
    curve: float
    colour: Colour
    strength: float


@dataclass(frozen=True)
class Hair:
    """Style by name (refsr.synthetic.hair.STYLES), colour, hairline height, its recess at the temples, parting."""

    style: str
    colour: Colour
    hairline: float
    recess: float
    peak: float
    part: float
    beard: str
    beard_colour: Colour


@dataclass(frozen=True)
class Mark:
    """A mole, birthmark or scar: centre, size, angle."""

    kind: str
    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True)
class Glasses:
    """A frame: outline by name (refsr.synthetic.accessories.OUTLINES), half-sizes, thickness of the rim, colour."""

    outline: str
    width: float
    height: float
    rim: float
    colour: Colour


@dataclass(frozen=True)
class Person:
    """All that stays the same in every picture of a person."""

    seed: int
    male: bool
    age: float  # 0 is about 18, 1 about 75
    skin: Colour
    tone: float  # 0 light ... 6 dark
    shape: Shape
    eyes: Eyes
    brows: Brows
    nose: Nose
    mouth: Mouth
    hair: Hair
    glasses: Glasses | None
    earring: tuple[str, Colour] | None
    nose_ring: Colour | None
    freckles: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class View:
    """All that differs between pictures of a person. Angles in radians; light points towards its source.

    `seed` is of what no parameter describes: the background's shapes, the grain.
    """

    seed: int
    yaw: float
    pitch: float
    roll: float
    smile: float
    open: float
    blink: float
    gaze: tuple[float, float]
    brow: float
    light: tuple[float, float, float]
    ambient: float
    warmth: float
    exposure: float
    age_drift: float
    distance: float
    collar: str
    cloth: Colour
    background: str
