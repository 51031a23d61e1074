"""Stage `train_sisr`: the single-image conditional VAE."""

from refsr.config import TrainSisr
from refsr.errors import RefsrError
from refsr.steps import Input, Required, ResumableOutput
from refsr.tracker import Tracker


def train_sisr(
    params: TrainSisr,
    tracker: Tracker,
    *,
    curated: Input,
    validation: Required,
    sisr: ResumableOutput,
) -> dict[str, float]:
    """Train on the curated set that `validation` has passed.

    Leaves in `sisr`: model.safetensors, warm.safetensors (the snapshot RefSR starts from) and
    history.csv.
    Raises RefsrError where the images do not fit the scale or the network.
    """
    import torch

    from refsr.dataset.curated import Curated
    from refsr.io.files import file_hash
    from refsr.models import build
    from refsr.training.fit import fit

    faces = Curated(curated)
    if faces.hr_size % params.scale:
        raise RefsrError(
            f"{curated}: its HR images of {faces.hr_size} pixels (curate.hr_size) are no multiple "
            f"of train_sisr.scale: {params.scale}; set train_sisr.scale to another, or "
            "curate.hr_size to a multiple and curate again"
        )
    torch.manual_seed(params.seed)  # the first weights
    config = {
        "model": "sisr",
        "variant": params.variant,
        "hr_size": faces.hr_size,
        "scale": params.scale,
    }
    model = build(config | params.model)
    metrics = fit(model, faces, params.scale, params, tracker, sisr)
    tracker.tags({"checkpoint": file_hash(sisr / "model.safetensors")})
    return metrics
