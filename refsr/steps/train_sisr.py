"""Stage `train_sisr`: the single-image conditional VAE."""

from refsr.config import TrainSisr
from refsr.steps import Input, ResumableOutput
from refsr.tracker import Tracker


def train_sisr(
    params: TrainSisr,
    tracker: Tracker,
    *,
    curated: Input,
    validation: Input,
    sisr: ResumableOutput,
) -> dict[str, float]:
    """Train on the curated set that `validation` has passed.

    Leaves in `sisr`: model.safetensors, warm.safetensors (the snapshot RefSR starts from) and
    history.csv.
    """
    import torch

    from refsr.dataset.curated import Curated
    from refsr.integrations.versioning import file_hash
    from refsr.models import build
    from refsr.training.fit import fit

    faces = Curated(curated)
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
