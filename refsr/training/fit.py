"""A training on a curated set: pairs, loss and pictures by the parameters, then the loop."""

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from refsr.config import Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.face_crops import LANDMARKS
from refsr.io.retained import STATE
from refsr.models import SuperResolver
from refsr.models.checkpoint import add_facts
from refsr.tracker import Tracker
from refsr.training.acceleration import deterministic
from refsr.training.distributed import together
from refsr.training.embedder import train_embedder
from refsr.training.loop import checkpoints_of, train
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.pictures import fixed_batch
from refsr.training.precision import choose_device
from refsr.training.validation import validation


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
    snapshot_at = params.warm_start_step if isinstance(params, TrainSisr) else 0
    objective = objective_for(params, faces, folder, tracker)
    validate = None
    if params.validate_every:
        pairs_too = isinstance(params, TrainRefsr)
        validate = validation(faces, scale, params, objective, references=pairs_too)
    metrics = train(
        model,
        pairs_for(model, faces, params),
        params,
        objective,
        tracker,
        folder,
        picture=fixed_batch(faces, scale),
        validate=validate,
        snapshot_at=snapshot_at,
    )
    if cast(SuperResolver, model).learns_landmarks:
        _note_landmarks(checkpoints_of(folder), faces)
    return metrics


def objective_for(params: Training, faces: Curated, folder: Path, tracker: Tracker) -> Objective:
    """The loss; trains its embedder first where it has one, with its state in `folder`.

    Of several processes the first trains it for all.
    """
    loss, embedder = params.loss, None
    if loss.trains_embedder:
        device = choose_device(params.device)
        state = folder / STATE / "embedder"
        with deterministic(is_asked=params.deterministic), together(device) as processes:
            if processes.rank == 0:
                embedder = train_embedder(
                    faces, params.seed, loss.identity_steps, device, state, tracker
                )
            embedder = processes.from_first(embedder)
    return Objective(loss, params.steps, embedder)


def _note_landmarks(checkpoints: Iterable[Path], faces: Curated) -> None:
    """Write where landmarks lie in the training crops, mean: whoever crops a photo needs it."""
    points = faces.landmarks(faces.split("train"))
    known = np.isfinite(points).all(axis=(1, 2), keepdims=True)
    if known.any():
        usual = points.mean(axis=0, dtype=np.float64, where=known)
        for each in checkpoints:
            add_facts(each, {LANDMARKS: usual.round(4).tolist()})


def pairs_for(model: nn.Module, faces: Curated, params: Training) -> Pairs:
    """The batches that a network takes: single images for SISR, pairs for RefSR."""
    references = params if isinstance(params, TrainRefsr) else None
    landmarks = cast(SuperResolver, model).learns_landmarks
    return Pairs(faces, params.seed, params.batch_size, references, landmarks=landmarks)
