"""The generative phase of `train_refsr`, and whether its weights are kept."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from refsr.config import TrainRefsr
from refsr.errors import RefsrError
from refsr.tracker import Tracker

if TYPE_CHECKING:
    import torch

    from refsr.dataset.curated import Curated
    from refsr.models import SuperResolver

MOST = 400  # validation images that are restored
_logger = logging.getLogger(__name__)


def require_validation(faces: "Curated") -> None:
    """Raises RefsrError where there are no two images of validation people to decide by."""
    from refsr.training.pictures import fixed_faces

    if not len(faces.split("validation")) or len(fixed_faces(faces, 2, 2)[0]) < 2:
        raise RefsrError(
            f"{faces.folder}: train_refsr.sharpen needs two images of validation people beside "
            "their references; set curate.validation_identities and curate again, or "
            "train_refsr.sharpen.steps to 0"
        )


def sharpen(
    params: TrainRefsr, tracker: Tracker, faces: "Curated", scale: int, refsr: Path
) -> dict[str, float]:
    """Train refsr/model.safetensors on, by `params.sharpen`, beside its faithful weights.

    The new weights are kept where validation images come nearer to true ones. Returns what that was
    decided by, sharpen.kid_faithful and so on.
    """
    from refsr.models.checkpoint import add_sharp
    from refsr.training.loop import MODEL
    from refsr.training.sharpen import PREFIX
    from refsr.training.sharpen import sharpen as train

    weights = train(faces, scale, params, tracker, refsr)
    both = _measured(params, faces, scale, refsr / MODEL, weights)
    before, after = both["faithful"], both["sharp"]
    numbers = {
        f"{PREFIX}{name}_{which}": value
        for which, values in both.items()
        for name, value in values.items()
    }
    tracker.metrics(numbers)
    change = (
        f"on validation people KID {before['kid']:.4f} before, {after['kid']:.4f} after, "
        f"PSNR {before['psnr']:.2f} dB before, {after['psnr']:.2f} after"
    )
    is_near = before["psnr"] - after["psnr"] <= params.sharpen.most_loss
    if after["kid"] < before["kid"] and is_near:
        add_sharp(refsr / MODEL, weights)
        _logger.info("sharp weights kept: %s", change)
    else:
        _logger.warning("sharp weights dropped: %s", change)
    return numbers


def _measured(
    params: TrainRefsr,
    faces: "Curated",
    scale: int,
    checkpoint: Path,
    weights: "dict[str, torch.Tensor]",
) -> dict[str, dict[str, float]]:
    from refsr.dataset.real_degradation import small
    from refsr.evaluation.realism import realism
    from refsr.models.checkpoint import load_model
    from refsr.training.pictures import fixed_faces
    from refsr.training.precision import choose_device

    device = choose_device(params.device)
    networks = {name: load_model(checkpoint, device) for name in ("faithful", "sharp")}
    networks["sharp"].load_state_dict(weights)
    hr, ref = fixed_faces(faces, MOST, MOST)
    resolvers = cast("dict[str, SuperResolver]", networks)
    lr = small(hr, scale, params.degradation, params.seed)
    return realism(resolvers, hr, lr, ref, params.seed)
