"""The generative phase: a finished RefSR goes on against a discriminator."""

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from refsr.config import TrainRefsr
from refsr.dataset.curated import Curated
from refsr.io import atomic
from refsr.io.files import file_hash
from refsr.io.retained import STATE
from refsr.models.checkpoint import load_model, read_checkpoint
from refsr.tracker import NullTracker, Tracker
from refsr.training.fit import objective_for, pairs_for
from refsr.training.loop import MODEL, train
from refsr.training.pictures import fixed_batch
from refsr.training.reports import Reports
from refsr.training.validation import validation

PREFIX = "sharpen."
HISTORY = "sharpen_history.csv"


class _Prefixed(Reports):
    """The tracker of the phase: its names are not those of the training before."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        super().metrics({PREFIX + name: each for name, each in values.items()}, step)

    def image(self, image: np.ndarray, key: str, step: int | None = None) -> None:
        super().image(image, PREFIX + key, step)

    def tags(self, values: Mapping[str, str]) -> None:
        super().tags({PREFIX + name: each for name, each in values.items()})


def sharpen(
    faces: Curated, scale: int, params: TrainRefsr, tracker: Tracker, folder: Path
) -> dict[str, torch.Tensor]:
    """Train the network of `folder`/model.safetensors on, by `params.sharpen`; returns its weights.

    The file stays as it is; sharpen_history.csv is written beside it. A phase that was killed goes
    on where it was, as long as it starts from the same weights. Raises as `train`.
    """
    phase = _phase(params)
    model = load_model(folder / MODEL)
    state = _state(folder, params)
    objective = objective_for(phase, faces, folder, NullTracker())  # its embedder is trained
    validate = None
    if phase.validate_every:
        validate = validation(faces, scale, phase, objective, references=True)
    train(
        model,
        pairs_for(model, faces, phase),
        phase,
        objective,
        _Prefixed(tracker, holds=False),
        state,
        picture=fixed_batch(faces, scale),
        validate=validate,
        sharpen=params.sharpen,
    )
    shutil.copyfile(state / "history.csv", folder / HISTORY)
    return read_checkpoint(state / MODEL)[2]


def _phase(params: TrainRefsr) -> TrainRefsr:
    """The parameters of the phase. It is not compiled: its loss holds a second network."""
    changes = {
        "steps": params.sharpen.steps,
        "learning_rate": params.sharpen.learning_rate,
        "self_reference": 0.0,  # the network has learned what a reference is for
        "compile": False,
        "patience": 0,
    }
    return params.model_copy(update=changes)


def _state(folder: Path, params: TrainRefsr) -> Path:
    """Where the phase keeps its files: its own for each start and each way; others go."""
    facts = f"{file_hash(folder / MODEL)} {params.sharpen.model_dump_json()}"
    own = folder / STATE / hashlib.sha256(facts.encode()).hexdigest()[:16] / "sharpen"
    for other in (folder / STATE).glob(f"*/{own.name}"):
        if other != own:
            atomic.remove(other.parent)
    own.mkdir(parents=True, exist_ok=True)
    return own
