"""The traits of a rendered person, and what changes between two of their images.

Lengths are in head units: the head spans y from -1 (chin) to 1 (crown), x grows to the right of the
image and z towards the camera. Colours are sRGB, 0-255.
"""

from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """The bones: half-widths of the head at four heights, and how far parts protrude."""

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
    """Half-width, half-height and tilt of the opening; crease, lash and liner in [0, 1]."""

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
    """Height above the eye, half-thickness, arch, slope, density; `slit` is a gap's place, or 0."""

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
    """Height of the base, half-width, how far tip and bridge protrude, roundness of the tip."""

    base: float
    width: float
    out: float
    bridge: float
    tip: float
    hook: float


@dataclass(frozen=True)
class Mouth:
    """Height, half-width, thickness of the lips, depth of the bow, curve at rest, colour."""

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
    """Style (a key of refsr.synthetic.hair.STYLES), colour, hairline, its recess, parting."""

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
    """Outline (a key of refsr.synthetic.accessories.OUTLINES), half-sizes, rim, colour."""

    outline: str
    width: float
    height: float
    rim: float
    colour: Colour


@dataclass(frozen=True)
class Person:
    """All that is equal in every image of a person."""

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
    """All that differs between images of a person.

    Angles are in radians; `light` points towards its source. `seed` determines what no parameter
    describes: the shapes of the background, the grain.
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
