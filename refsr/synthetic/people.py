"""Draw people and views from seeds.

Coarse features (skin, hair) are independent of fine traits (eyes, brows, lips, moles, freckles,
glasses, ...), as in real people. So the coarse look, which is all that a tiny image shows, does
not identify a person.
"""

from functools import cache, partial

import numpy as np

from refsr.synthetic.traits import (
    Brows,
    Colour,
    Eyes,
    Glasses,
    Hair,
    Mark,
    Mouth,
    Nose,
    Person,
    Shape,
    View,
)

SKIN = np.array(
    [
        [250, 220, 202],
        [240, 202, 178],
        [226, 178, 146],
        [203, 150, 116],
        [166, 114, 84],
        [122, 80, 58],
        [88, 56, 42],
    ]
)
HAIR = [
    (30, 24, 22),
    (48, 33, 25),
    (82, 54, 34),
    (122, 82, 46),
    (186, 146, 92),
    (214, 184, 132),
    (142, 66, 34),
]
GREY = (168, 166, 164)
IRIS = [
    (58, 36, 22),
    (92, 58, 30),
    (124, 92, 44),
    (92, 122, 66),
    (74, 128, 158),
    (100, 150, 196),
    (128, 138, 148),
]
LIPSTICK = [(176, 30, 48), (196, 70, 96), (140, 34, 70), (204, 96, 84)]
FRAME = [
    (24, 24, 28),
    (70, 40, 24),
    (150, 28, 36),
    (32, 62, 128),
    (206, 172, 90),
    (176, 178, 184),
    (30, 96, 80),
]
METAL = [(228, 190, 92), (208, 210, 216)]


def person(seed: int) -> Person:
    """The person of a seed."""
    rng = np.random.default_rng([77, seed])
    u = partial(_uniform, rng)
    male = bool(rng.random() < 0.5)
    tone, age = u(0, 6), u(0, 1) ** 1.2
    skin = SKIN[int(tone)] * (1 - tone % 1) + SKIN[int(tone) + 1] * (tone % 1)
    return Person(
        seed=seed,
        male=male,
        age=age,
        skin=_colour(skin * rng.uniform(0.97, 1.03, 3)),
        tone=tone,
        shape=_shape(u, male),
        eyes=_eyes(u, rng, male, tone),
        brows=_brows(u, rng, male),
        nose=_nose(u, tone),
        mouth=_mouth(u, rng, male, tone),
        hair=_hair(u, rng, male, age, tone),
        glasses=_glasses(u, rng) if rng.random() < 0.27 else None,
        earring=_earring(rng) if rng.random() < (0.1 if male else 0.5) else None,
        nose_ring=METAL[rng.integers(2)] if rng.random() < 0.06 else None,
        freckles=int(rng.integers(60, 300)) if tone < 3 and rng.random() < 0.4 else 0,
        marks=_marks(u, rng),
    )


def unlikeness(a: Person, b: Person) -> float:
    """The difference of two faces: root mean square over traits, each in standard deviations.

    For two random people it is 1.41 on average, and 1.2 or less for one pair in ten.
    """
    return float(np.sqrt((((_traits(a) - _traits(b)) / _spread_of_traits()) ** 2).mean()))


@cache
def _spread_of_traits() -> np.ndarray:
    return np.asarray(np.std([_traits(person(seed)) for seed in range(200)], axis=0))


def _traits(who: Person) -> np.ndarray:
    shape, eyes, brows, nose, mouth = who.shape, who.eyes, who.brows, who.nose, who.mouth
    skull = [shape.cranium, shape.cheekbone, shape.jaw, shape.chin, shape.forehead]
    relief = [shape.cheek, shape.brow_ridge, shape.chin_out]
    opening = [eyes.x, eyes.y, eyes.width, eyes.height, eyes.tilt]
    brow = [brows.height, brows.thickness, brows.arch, brows.slope, brows.length]
    noses = [nose.base, nose.width, nose.out, nose.bridge]
    lips = [mouth.y, mouth.width, mouth.upper, mouth.lower]
    return np.array([*skull, *relief, *opening, *brow, *noses, *lips, who.tone, who.age])


def view(seed: int, who: Person, frontal: bool = False) -> View:
    """The view of a person for a seed; `frontal` turns the head within a few degrees."""
    rng = np.random.default_rng([991, who.seed, seed])
    u = partial(_uniform, rng)
    spread = 0.06 if frontal else 0.31
    smile = float(np.clip(rng.normal(0.25, 0.28), -0.25, 0.9))
    return View(
        seed=int(rng.integers(2**31)),
        yaw=float(np.clip(rng.normal(0, spread), -0.8, 0.8)),
        pitch=float(np.clip(rng.normal(0, 0.04 if frontal else 0.1), -0.28, 0.28)),
        roll=float(np.clip(rng.normal(0, 0.03 if frontal else 0.06), -0.2, 0.2)),
        smile=smile,
        open=u(0.25, 1) if rng.random() < (0.2 + 0.3 * max(0, smile)) else 0.0,
        blink=u(0.85, 1.1) if frontal or rng.random() < 0.96 else 0.1,
        gaze=(u(-0.45, 0.45), u(-0.3, 0.3)),
        brow=u(-0.025, 0.03),
        light=(u(-0.85, 0.85), u(0.0, 0.9), u(0.6, 1.1)),
        ambient=u(0.36, 0.64),
        warmth=u(-0.1, 0.1),
        exposure=u(0.8, 1.2),
        age_drift=u(-0.1, 0.1),
        distance=u(4.5, 9),
        collar=str(rng.choice(["crew", "v", "turtle", "shirt"])),
        cloth=_colour(rng.uniform(15, 225, 3) * u(0.5, 1)),
        background=str(rng.choice(["wall", "bokeh", "outdoor", "window"])),
    )


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0, 255)
    return float(red), float(green), float(blue)


def _shape(u: partial[float], male: bool) -> Shape:
    return Shape(
        cranium=u(0.62, 0.71),
        cheekbone=u(0.57, 0.69),
        jaw=u(0.39, 0.55) + 0.03 * male,
        chin=u(0.2, 0.31) + 0.03 * male,
        forehead=u(-0.03, 0.03),
        cheek=u(-0.02, 0.06),
        brow_ridge=u(0.0, 0.03) + 0.03 * male,
        chin_out=u(-0.02, 0.05) + 0.01 * male,
        ear=u(0.85, 1.2),
    )


def _eyes(u: partial[float], rng: np.random.Generator, male: bool, tone: float) -> Eyes:
    dark = rng.random() < tone / 4.5
    return Eyes(
        x=u(0.248, 0.318),
        y=u(-0.02, 0.05),
        width=u(0.11, 0.158),
        height=u(0.04, 0.076),
        tilt=u(-0.24, 0.34),
        round=u(1.7, 2.8),
        crease=max(0.0, u(-0.4, 1)),
        lash=u(0.2, 0.6) if male else u(0.5, 1),
        liner=0.0 if male or rng.random() < 0.5 else u(0.4, 1),
        bag=u(0, 1),
        iris=IRIS[rng.integers(0, 3 if dark else 7)],
        iris_size=u(0.054, 0.064),
    )


def _brows(u: partial[float], rng: np.random.Generator, male: bool) -> Brows:
    return Brows(
        height=u(0.12, 0.205),
        thickness=u(0.013, 0.047) + 0.006 * male,
        arch=u(-0.01, 0.09),
        slope=u(-0.09, 0.09),
        length=u(0.24, 0.36),
        density=u(0.35, 1),
        inner=u(0.05, 0.17),
        slit=u(0.45, 0.75) if rng.random() < 0.1 else 0.0,
    )


def _nose(u: partial[float], tone: float) -> Nose:
    return Nose(
        base=u(-0.39, -0.26),
        width=u(0.075, 0.13) + 0.004 * tone,
        out=u(0.14, 0.27),
        bridge=u(0.02, 0.09),
        tip=u(0.0, 0.05),
        hook=u(-0.03, 0.035),
    )


def _mouth(u: partial[float], rng: np.random.Generator, male: bool, tone: float) -> Mouth:
    painted = not male and rng.random() < 0.45
    natural = np.array([190, 96, 92]) * (1 - tone / 6) + np.array([112, 60, 58]) * tone / 6
    return Mouth(
        y=u(-0.63, -0.52),
        width=u(0.165, 0.275),
        upper=u(0.016, 0.066),
        lower=u(0.028, 0.086),
        bow=u(0.0, 0.4),
        curve=u(-0.035, 0.035),
        colour=LIPSTICK[rng.integers(4)] if painted else _colour(natural),
        strength=u(0.7, 0.95) if painted else u(0.25, 0.75),
    )


def _hair(u: partial[float], rng: np.random.Generator, male: bool, age: float, tone: float) -> Hair:
    colour = HAIR[rng.integers(0, 3)] if rng.random() < tone / 5 else HAIR[rng.integers(0, 7)]
    grey = max(0.0, u(-1.2, 1.2) + 1.6 * (age - 0.5))
    mixed = _colour(np.array(colour) * (1 - min(grey, 1)) + np.array(GREY) * min(grey, 1))
    men = ["short", "crop", "side", "swept", "spiky", "curly", "buzz", "bald", "shag"]
    women = ["long", "wavy", "bob", "fringe", "curls", "bun", "afro", "pixie", "lob"]
    beards = ["none", "none", "stubble", "full", "goatee", "moustache", "chin"]
    return Hair(
        style=str(rng.choice(men if male else women)),
        colour=mixed,
        hairline=u(0.47, 0.66),
        recess=u(0.0, 0.14) + (0.1 * age if male else 0),
        peak=u(0.0, 0.06),
        part=u(-0.3, 0.3),
        beard=str(rng.choice(beards)) if male else "none",
        beard_colour=_beard_colour(rng, mixed),
    )


def _beard_colour(rng: np.random.Generator, hair: Colour) -> Colour:
    shade = np.array(hair) * rng.uniform(0.7, 1)
    return _colour(shade + rng.uniform(0, 14) * np.array([1, 0.4, 0]))


def _glasses(u: partial[float], rng: np.random.Generator) -> Glasses:
    return Glasses(
        outline=str(rng.choice(["round", "square", "oval", "cat", "aviator"])),
        width=u(0.19, 0.225),
        height=u(0.12, 0.175),
        rim=u(0.010, 0.022),
        colour=FRAME[rng.integers(len(FRAME))],
    )


def _earring(rng: np.random.Generator) -> tuple[str, Colour]:
    return str(rng.choice(["stud", "hoop", "drop"])), METAL[rng.integers(2)]


def _mole(u: partial[float]) -> Mark:
    return Mark("mole", u(-0.5, 0.5), u(-0.86, 0.42), u(0.012, 0.024), 0.0)


def _marks(u: partial[float], rng: np.random.Generator) -> tuple[Mark, ...]:
    marks = [_mole(u) for _ in range(rng.integers(0, 5))]
    if rng.random() < 0.22:
        marks.append(Mark("scar", u(-0.42, 0.42), u(-0.45, 0.45), u(0.08, 0.18), u(0, np.pi)))
    if rng.random() < 0.1:
        marks.append(Mark("stain", u(-0.5, 0.5), u(-0.6, 0.5), u(0.06, 0.13), u(0, np.pi)))
    return tuple(marks)
