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
    from refsr.training.loop import train
    from refsr.training.objective import Objective
    from refsr.training.pairs import Pairs
    from refsr.training.pictures import fixed_batch

    faces = Curated(curated)
    torch.manual_seed(params.seed)  # the first weights
    model = build(
        {
            "model": "sisr",
            "variant": params.variant,
            "hr_size": faces.hr_size,
            "scale": params.scale,
        }
        | params.model
    )
    metrics = train(
        model,
        Pairs(faces, params.seed, params.batch_size),
        params,
        Objective(params.loss, params.steps),
        tracker,
        sisr,
        picture=fixed_batch(faces, params.scale),
        snapshot_at=params.warm_start_step,
    )
    tracker.tags({"checkpoint": file_hash(sisr / "model.safetensors")})
    return metrics
