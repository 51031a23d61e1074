"""The options of an upscaling, and what they may be."""

import math
from typing import NamedTuple

from refsr.errors import RefsrError

MOST_TEMPERATURE = 2.0  # beyond, a sample is noise
MOST_SEED = 2**63 - 1
DEVICES = ("cpu", "cuda", "auto")


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
