"""The few metrics of a stage that people look for first.

They are the metrics of its MLflow run, where a stage measures hundreds, the metadata of its
artifacts in Kubeflow, and those of an evaluation what `dvc metrics` compares.
"""

import math
from collections.abc import Mapping

_CURATION = ("identities.train", "identities.test", "images.train", "images.test")
_TRAINING = ("loss", "l1", "perceptual")
_EVALUATION = (
    "data.identities",
    "psnr.bicubic.mean",
    "psnr.sisr.mean",
    "psnr.ref_right.mean",
    "ssim.ref_right.mean",
    "identity.ref_right.mean",
    "difference.right_minus_wrong.psnr.mean",
    "difference.right_minus_wrong.identity.mean",
    "difference.right_minus_none.psnr.mean",
    "difference.right_minus_none.identity.mean",
)
METRICS: dict[str, tuple[str, ...]] = {  # by stage
    "synthesize": ("identities", "images"),
    "curate": _CURATION,
    "merge": _CURATION,
    "validate": ("expectations", "rows.identities", "rows.images"),
    "train_sisr": _TRAINING,
    "train_refsr": _TRAINING,
    "evaluate": _EVALUATION,
    "merge_evaluation": _EVALUATION,
    "register": ("version",),
}
FILE = "headline.json"  # of an evaluation, beside metrics.json, which has every number
LONG = (
    "evaluate",
    "merge_evaluation",
)  # stages whose numbers are too many for a run; all are in an artifact


def headline(stage: str, values: Mapping[str, float]) -> dict[str, float]:
    """The finite ones of the stage's first metrics."""
    names = METRICS.get(stage, ())
    return {name: values[name] for name in names if math.isfinite(values.get(name, math.nan))}


def of_the_run(stage: str, values: Mapping[str, float]) -> Mapping[str, float]:
    """What the tracked run of a stage records of its metrics."""
    return headline(stage, values) if stage in LONG else values
