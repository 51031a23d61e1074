"""The few metrics of a stage that people look for first: metadata of its artifacts in Kubeflow."""

import math
from collections.abc import Mapping

from refsr.reporting.headline import NAMES

_CURATION = ("identities.train", "identities.test", "images.train", "images.test")
_TRAINING = ("loss", "l1", "perceptual")
METRICS: dict[str, tuple[str, ...]] = {  # by stage; the ten of `evaluate` are those of the run too
    "synthesize": ("identities", "images"),
    "curate": _CURATION,
    "merge": _CURATION,
    "validate": ("expectations", "rows.identities", "rows.images"),
    "train_sisr": _TRAINING,
    "train_refsr": _TRAINING,
    "evaluate": NAMES,
    "register": ("version",),
}
OF_THE_RUN = "evaluate"  # stage whose summary is that of the pipeline


def summary(stage: str, values: Mapping[str, float]) -> dict[str, float]:
    """The finite ones of the stage's first metrics."""
    names = METRICS.get(stage, ())
    return {name: values[name] for name in names if math.isfinite(values.get(name, math.nan))}
