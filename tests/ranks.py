"""Trainings without noise, in float32, to compare one process with several: ranks.py CURATED TO.

Each process runs all of them. Of several, the first writes; the files of others are thrown away.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from refsr.config import Loss, Sharpen, Training, TrainRefsr, TrainSisr
from refsr.dataset.curated import Curated
from refsr.models import build
from refsr.tracker import NullTracker
from refsr.training import distributed, loop
from refsr.training.fit import pairs_for
from refsr.training.objective import Objective
from refsr.training.validation import validation

SMALL = {"variant": "compact", "hr_size": 32, "scale": 8, "width": 16, "blocks": 1, "latent": 0}
STEPS, KILLED = 6, 5
KINDS = ("sisr", "refsr", "sharp")  # the last: the generative phase
VALUES = {
    "batch_size": 4,
    "log_every": 1,
    "validate_every": 2,
    "save_every": 2,
    "warmup_steps": 0,
    "schedule": "constant",
    "precision": "float32",
    "device": "cpu",
    "loss": Loss(perceptual_weight=0),
}


class _Killed(NullTracker):
    """Ends the training when a step is reported, in all processes."""

    def metrics(
        self,
        values: object,
        step: int | None = None,
    ) -> None:
        if step == KILLED:
            raise KeyboardInterrupt


def _params(
    kind: str,
) -> Training:
    if kind == "sisr":
        return TrainSisr.model_validate(VALUES | {"steps": STEPS, "warm_start_step": 1})
    return TrainRefsr.model_validate(VALUES | {"steps": STEPS})


def train_one(
    faces: Curated,
    kind: str,
    tracker: NullTracker,
    folder: Path,
) -> None:
    """Train a network of a kind, or go on with it."""
    torch.manual_seed(0)
    model = build({"model": "sisr" if kind == "sisr" else "refsr"} | SMALL)
    params = _params(kind)
    objective = Objective(params.loss, STEPS)
    is_refsr = kind != "sisr"
    measure = validation(faces, 8, params, objective, references=is_refsr)
    pairs = pairs_for(model, faces, params)
    sharpen = Sharpen(steps=STEPS) if kind == "sharp" else None
    loop.train(model, pairs, params, objective, tracker, folder, validate=measure, sharpen=sharpen)


def main(
    curated: Path,
    to: Path,
) -> None:
    """Train each kind without a break, and killed."""
    torch.randn_like = torch.zeros_like  # no noise
    faces = Curated(curated)
    with tempfile.TemporaryDirectory() as other, distributed.together("cpu"):
        root = to if distributed.rank() == 0 else Path(other)
        for kind in KINDS:
            train_one(faces, kind, NullTracker(), root / kind)
            with suppress(KeyboardInterrupt):
                train_one(faces, kind, _Killed(), root / f"{kind}-killed")
            train_one(faces, kind, NullTracker(), root / f"{kind}-killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
