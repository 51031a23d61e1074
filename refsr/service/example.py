"""A rendered person to try the service with."""

import io
from functools import cache

import numpy as np
from PIL import Image

from refsr.curation.alignment import resample
from refsr.synthetic.people import view
from refsr.synthetic.render import Frame, model, render

PERSON = 11
NAMES = ("photo", "reference-1", "reference-2")
_PORTRAIT = Frame(256, 288, 168.0, 128.0, 150.0)
_SMALLER = 16 / 256  # of the photo's side


@cache
def pictures() -> dict[str, np.ndarray]:
    """By NAMES: a small photo, and portraits of the same rendered person."""
    built = model(PERSON)
    views = (render(built, view(seed, built.who, True), _PORTRAIT).image for seed in range(3))
    made = dict(zip(NAMES, views, strict=True))
    height, width = (round(side * _SMALLER) for side in made["photo"].shape[:2])
    return made | {"photo": resample(made["photo"], width, height)}


@cache
def png(name: str) -> bytes:
    """One of `pictures` as a file."""
    target = io.BytesIO()
    Image.fromarray(pictures()[name]).save(target, "PNG")
    return target.getvalue()
