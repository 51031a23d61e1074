"""The training loop, the only one: both networks and every variant go through it."""

import csv
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from refsr.config import Training
from refsr.errors import RefsrError
from refsr.io.own_files import checksum
from refsr.progress import Progress
from refsr.tracker import Tracker
from refsr.training.distributed import together
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.precision import choose_device

Picture = Callable[[nn.Module], np.ndarray]
_logger = logging.getLogger(__name__)


def train(
    model: nn.Module,
    pairs: Pairs,
    params: Training,
    objective: Objective,
    tracker: Tracker,
    folder: Path,
    *,
    picture: Picture | None = None,
    snapshot_at: int = 0,
) -> dict[str, float]:
    """Train a network; writes model.safetensors (averaged weights) and history.csv.

    `folder`/state.pt is the resume point; refsr.steps removes it once the folder is in place. A
    training that was killed goes on from it: on a CPU to the very weights of one that was not
    killed; a GPU adds up in another order each time. Several processes train together where a
    launcher started them (see `refsr.training.distributed`).

    Args:
        model: The network, trained in place.
        pairs: The training pairs, by step.
        params: The section of the training.
        objective: The loss; checkpoints name its pretrained networks as `loss_networks`.
        tracker: Gets the numbers of the first process's share, and the pictures.
        folder: Where files are written.
        picture: Draws what the network makes of a fixed batch.
        snapshot_at: The step whose averaged weights are written to warm.safetensors too.

    Returns:
        The last numbers.

    Raises:
        RefsrError: The loss is no longer a number, or a batch cannot be shared.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with together(choose_device(params.device)) as processes:
        _check_shares(params.batch_size, processes.count)
        learner = Learner(model, params, objective, processes)
        learner.resume(folder / "state.pt")
        _log_start(learner)
        _steps(learner, pairs, tracker, folder, picture, snapshot_at)
    learner.export(folder / "model.safetensors")
    _write_history(folder / "history.csv", learner.history)
    return {key: value for key, value in learner.history[-1].items() if key != "step"}


def _check_shares(batch_size: int, processes: int) -> None:
    if batch_size % processes:
        raise RefsrError(f"batch_size {batch_size} cannot be shared by {processes} processes")


def _steps(
    learner: Learner,
    pairs: Pairs,
    tracker: Tracker,
    folder: Path,
    picture: Picture | None,
    snapshot_at: int,
) -> None:
    """The steps that are left, with all that falls due between them."""
    params = learner.params
    tracker.tags(_tags(learner))
    clock = _Clock(params.batch_size, learner.step)
    with _progress(learner, folder.stem) as progress:
        while learner.step < params.steps:
            parts = learner.train_step(pairs.batch(learner.step, learner.device))
            step = learner.step
            progress.update()
            if _due(step, params.log_every, params.steps):
                progress.show(**_log(learner, parts, tracker, clock))
            if picture is not None and _due(step, params.image_every, params.steps):
                tracker.image(picture(learner.averaged_model()), "fixed_batch", step)
            if step == snapshot_at:
                learner.export(folder / "warm.safetensors")
                learner.snapshots["warm.safetensors"] = checksum(folder / "warm.safetensors")
            if _due(step, params.save_every, params.steps):
                learner.save(folder / "state.pt")


def _tags(learner: Learner) -> dict[str, str]:
    return {
        "precision": learner.precision,
        "device": learner.device,
        "processes": str(learner.processes.count),
    }


def _progress(learner: Learner, model: str) -> Progress:
    return Progress(
        total=learner.params.steps,
        done=learner.step,
        desc=f"trained {model}",
        unit="step",
    )


def _log(
    learner: Learner,
    parts: dict[str, torch.Tensor],
    tracker: Tracker,
    clock: "_Clock",
) -> dict[str, str]:
    """Add a row to the history; returns what the progress bar shows."""
    step = learner.step
    row = {key: float(value) for key, value in parts.items()}
    row["images_per_second"] = clock.lap(step)
    _refuse_nan(row, step)
    learner.history.append({"step": step} | row)
    tracker.metrics(row, step)
    return {
        "loss": f"{row['loss']:.4f}",
        "images_per_s": f"{row['images_per_second']:.0f}",
    }


def _log_start(learner: Learner) -> None:
    kind = f"{learner.precision} on {learner.device}"
    _logger.info("%s, %d process(es)", kind, learner.processes.count)
    if learner.step:
        _logger.info("resumes at step %d of %d", learner.step, learner.params.steps)


def _due(step: int, every: int, last: int) -> bool:
    return step % every == 0 or step == last


def _refuse_nan(row: dict[str, float], step: int) -> None:
    if not math.isfinite(row["loss"]):
        raise RefsrError(
            f"training: the loss is {row['loss']} at step {step} ({row}); lower learning_rate",
        )


def _write_history(path: Path, history: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)


class _Clock:
    """Images per second since the lap before."""

    def __init__(self, batch_size: int, step: int) -> None:
        self._batch_size, self._step, self._since = (
            batch_size,
            step,
            time.perf_counter(),
        )

    def lap(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self._step) * self._batch_size / (now - self._since)
        self._step, self._since = step, now
        return rate
