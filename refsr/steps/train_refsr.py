"""Stage `train_refsr`: the reference conditional VAE, started from the single-image one."""

from pathlib import Path
from typing import TYPE_CHECKING

from refsr.config import TrainRefsr
from refsr.errors import RefsrError
from refsr.steps import Input, ResumableOutput
from refsr.tracker import Tracker

if TYPE_CHECKING:
    from torch import nn

    from refsr.dataset.curated import Curated


def train_refsr(
    params: TrainRefsr,
    tracker: Tracker,
    *,
    curated: Input,
    sisr: Input,
    refsr: ResumableOutput,
) -> dict[str, float]:
    """Train on pairs of image and reference.

    Variant, sizes and the first weights are those of sisr/warm.safetensors. Writes into `refsr`:
    model.safetensors, best.safetensors (the best in validation), which also rate how well a
    reference fits, and history.csv. With `params.sharpen` also sharpen_history.csv, and into
    model.safetensors the weights of that phase, where validation says so. Raises RefsrError where
    the snapshot is not of this version or for images of another size, or nobody is for validation.
    """
    from refsr.dataset.curated import Curated
    from refsr.io.files import file_hash
    from refsr.steps.sharpening import require_validation, sharpen
    from refsr.training.compatibility import add_compatibility
    from refsr.training.distributed import together
    from refsr.training.fit import fit
    from refsr.training.loop import checkpoints_of
    from refsr.training.precision import choose_device

    faces = Curated(curated, columns=())
    model, scale, warm_start = network(params, faces, sisr)
    tracker.tags({"warm_start": warm_start})
    if params.sharpen.steps:
        require_validation(faces)
    with together(choose_device(params.device)):
        metrics = fit(model, faces, scale, params, tracker, refsr)
        if params.sharpen.steps:
            metrics |= sharpen(params, tracker, faces, scale, refsr)
    add_compatibility(checkpoints_of(refsr), faces, params)
    tracker.tags({"checkpoint": file_hash(refsr / "model.safetensors")})
    return metrics


def network(params: TrainRefsr, faces: "Curated", sisr: Path) -> "tuple[nn.Module, int, str]":
    """The network with its first weights, its scale, and how many of the weights are SISR's.

    Raises RefsrError where the snapshot is not of this version, or was trained for images of
    another size.
    """
    from typing import cast

    import torch

    from refsr.models import SuperResolver, build, reference_config
    from refsr.models.checkpoint import load_matching, load_model

    before = load_model(sisr / "warm.safetensors")
    config = cast(SuperResolver, before).config
    if config["hr_size"] != faces.hr_size:
        raise RefsrError(
            f"{sisr / 'warm.safetensors'}: trained for HR images of {config['hr_size']} pixels, "
            f"and {faces.folder} has {faces.hr_size} (curate.hr_size); run the stage `train_sisr` "
            "again"
        )
    torch.manual_seed(params.seed)  # the first weights
    model = build(reference_config(config) | params.model)
    loaded, skipped = load_matching(model, before.state_dict())
    return model, config["scale"], f"{len(loaded)} tensors of SISR loaded, {len(skipped)} left out"
