"""Stage `train_sisr`: the single-image conditional VAE."""

from typing import TYPE_CHECKING

from refsr.config import TrainSisr
from refsr.errors import RefsrError
from refsr.steps import Input, Required, ResumableOutput
from refsr.tracker import Tracker

if TYPE_CHECKING:
    from torch import nn

    from refsr.dataset.curated import Curated


def train_sisr(
    params: TrainSisr,
    tracker: Tracker,
    *,
    curated: Input,
    validation: Required,
    sisr: ResumableOutput,
) -> dict[str, float]:
    """Train on the curated set that `validation` has passed.

    Leaves in `sisr`: model.safetensors, warm.safetensors (the snapshot RefSR starts from),
    best.safetensors (the best in validation) and history.csv.
    Raises RefsrError where the images do not fit the scale or the network.
    """
    from refsr.dataset.curated import Curated
    from refsr.io.files import file_hash
    from refsr.training.fit import fit

    faces = Curated(curated, columns=())
    model = network(params, faces)
    metrics = fit(model, faces, params.scale, params, tracker, sisr)
    tracker.tags({"checkpoint": file_hash(sisr / "model.safetensors")})
    return metrics


def network(params: TrainSisr, faces: "Curated") -> "nn.Module":
    """The network with its first weights.

    Raises RefsrError where the images do not fit the scale or the network.
    """
    import torch

    from refsr.models import build

    if faces.hr_size % params.scale:
        raise RefsrError(
            f"{faces.folder}: its HR images of {faces.hr_size} pixels (curate.hr_size) are no "
            f"multiple of train_sisr.scale: {params.scale}; set train_sisr.scale to another, or "
            "curate.hr_size to a multiple and curate again"
        )
    torch.manual_seed(params.seed)  # the first weights
    config = {
        "model": "sisr",
        "variant": params.variant,
        "hr_size": faces.hr_size,
        "scale": params.scale,
    }
    return build(config | params.model)
