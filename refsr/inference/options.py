"""The options of an upscaling, and what they may be."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from refsr.errors import RefsrError

MOST_TEMPERATURE = 2.0  # beyond, a sample is noise
MOST_SEED = 2**63 - 1
SEEDS = 10**6  # of requests: as many samples as anybody looks at
DEVICES = ("cpu", "cuda", "auto")
SHARPNESS = 0.9  # of 1; more costs PSNR on some faces: see benchmarks/photo_to_photo.py
MAX_SCALE = 16.0


class Options(NamedTuple):
    """How a network is run. The defaults are the network's own output.

    Attributes:
        temperature: 0 draws nothing; 1 draws the latent code from its prior.
        seed: Of what is drawn.
        fidelity: In [0, 1], the share of what the reduced output misses of the photo that is put
            back.
        device: Where it is run from now on: one of DEVICES; None: where it is.
    """

    temperature: float = 0.0
    seed: int = 0
    fidelity: float = 0.0
    device: str | None = None


@dataclass(frozen=True)
class PhotoOptions:
    """How a photo is enlarged. RefsrError where a number is out of its range.

    Attributes:
        scale: How many times the photo is enlarged, 1 to MAX_SCALE; None: so that the face keeps
            all pixels that the network gives.
        sharpness: In [0, 1], the share of the network's detail; 0 is a plain filter.
        all_faces: Restore every face, not only the one that fits the references.
        crop: The photo is a crop of a face as in training: none is sought.
        drop_misfits: Do without references that do not fit the face.
        fidelity: In [0, 1], how strongly the face is held to the photo. At 1 it shows what the
            photo shows; less lets the network change more.
        temperature: From 0 to 2: 0 gives the most likely face, 1 draws a possible one.
        seed: Of what is drawn.
    """

    scale: float | None = None
    sharpness: float = SHARPNESS
    all_faces: bool = False
    crop: bool = False
    drop_misfits: bool = False
    fidelity: float = 1.0
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        require_range("scale", self.scale, 1, MAX_SCALE)
        require_range("sharpness", self.sharpness, 0, 1)
        require(Options(self.temperature, self.seed, self.fidelity))


def require(options: Options) -> None:
    """Raises RefsrError where an option is out of its range."""
    require_range("temperature", options.temperature, 0, MOST_TEMPERATURE)
    require_range("fidelity", options.fidelity, 0, 1)
    if not isinstance(options.seed, int) or not 0 <= options.seed <= MOST_SEED:
        raise RefsrError(f"seed {options.seed!r}: a whole number from 0 on is expected")
    if options.device is not None and options.device not in DEVICES:
        raise RefsrError(f"device {options.device!r}: choose one of {', '.join(DEVICES)}")


def require_range(name: str, value: float | None, low: float, high: float) -> None:
    """Raises RefsrError where a value is given and is no number of a range."""
    if value is None:
        return
    if not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise RefsrError(f"{name} {value!r}: a number from {low:g} to {high:g} is expected")
