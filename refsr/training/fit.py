"""A training on a curated set: pairs, loss and pictures by the parameters, then the loop."""

from pathlib import Path
from typing import cast

from torch import nn

from refsr.config import TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.models import SuperResolver
from refsr.tracker import Tracker
from refsr.training.loop import train
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.pictures import fixed_batch


def fit(
    model: nn.Module,
    faces: Curated,
    scale: int,
    params: TrainSisr | TrainRefsr,
    tracker: Tracker,
    folder: Path,
) -> dict[str, float]:
    """Train a network of either kind; what is written and raised, see `train`.

    Args:
        model: The network, trained in place.
        faces: The curated set.
        scale: HR side over LR side.
        params: The section; RefSR is given references, SISR keeps a snapshot for it.
        tracker: Gets numbers and pictures.
        folder: Where files are written.

    Returns:
        The last numbers.
    """
    references = params if isinstance(params, TrainRefsr) else None
    landmarks = cast(SuperResolver, model).learns_landmarks
    snapshot_at = params.warm_start_step if isinstance(params, TrainSisr) else 0
    return train(
        model,
        Pairs(faces, params.seed, params.batch_size, references, landmarks=landmarks),
        params,
        Objective(params.loss, params.steps),
        tracker,
        folder,
        picture=fixed_batch(faces, scale),
        snapshot_at=snapshot_at,
    )
