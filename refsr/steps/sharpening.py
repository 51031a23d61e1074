"""The generative phase of `train_refsr`, and whether its weights are kept."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from refsr.config import TrainRefsr
from refsr.errors import RefsrError
from refsr.tracker import Tracker

if TYPE_CHECKING:
    import torch

    from refsr.dataset.curated import Curated

MOST = 400  # validation images that are restored, and training images they are compared with
_logger = logging.getLogger(__name__)


def require_validation(faces: "Curated") -> None:
    """Raises RefsrError where there are no validation people to decide by."""
    if not len(faces.split("validation")):
        raise RefsrError(
            f"{faces.folder}: train_refsr.sharpen needs validation people, and there are none; "
            "set curate.validation_identities and curate again, or train_refsr.sharpen.steps to 0"
        )


def sharpen(
    params: TrainRefsr, tracker: Tracker, faces: "Curated", scale: int, refsr: Path
) -> dict[str, float]:
    """Train refsr/model.safetensors on, by `params.sharpen`, beside its faithful weights.

    The new weights are kept where the kernel distance of validation images falls. Returns the
    distances: sharpen.kid_faithful and sharpen.kid_sharp.
    """
    from refsr.models.checkpoint import add_sharp
    from refsr.training.loop import MODEL
    from refsr.training.sharpen import PREFIX
    from refsr.training.sharpen import sharpen as train

    weights = train(faces, scale, params, tracker, refsr)
    distances = _distances(params, faces, scale, refsr / MODEL, weights)
    numbers = {f"{PREFIX}kid_{name}": distance for name, distance in distances.items()}
    tracker.metrics(numbers)
    change = f"{distances['faithful']:.4f} before, {distances['sharp']:.4f} after"
    if distances["sharp"] < distances["faithful"]:
        add_sharp(refsr / MODEL, weights, {"sharpen_steps": params.sharpen.steps})
        _logger.info("sharp weights kept; kernel distance of validation people: %s", change)
    else:
        _logger.warning("sharp weights dropped; kernel distance of validation people: %s", change)
    return numbers


def _distances(
    params: TrainRefsr,
    faces: "Curated",
    scale: int,
    checkpoint: Path,
    weights: "dict[str, torch.Tensor]",
) -> dict[str, float]:
    import numpy as np
    import torch

    from refsr.evaluation.realism import realism_distances
    from refsr.models.checkpoint import load_model
    from refsr.training.pictures import fixed_faces
    from refsr.training.precision import choose_device

    device = choose_device(params.device)
    networks = {name: load_model(checkpoint, device) for name in ("faithful", "sharp")}
    networks["sharp"].load_state_dict(weights)
    rows = np.random.default_rng(params.seed).permutation(faces.split("train"))[:MOST]
    true = torch.from_numpy(faces.pixels(rows)).permute(0, 3, 1, 2).float() / 255
    hr, ref = fixed_faces(faces, MOST, MOST)
    return realism_distances(networks, hr, ref, true, scale=scale, seed=params.seed)
