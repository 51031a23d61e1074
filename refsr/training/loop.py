"""The training loop, the only one: both networks and every variant go through it."""

import csv
import logging
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from refsr.config import Training
from refsr.errors import RefsrError
from refsr.io.own_files import checksum
from refsr.io.retained import STATE
from refsr.progress import Progress
from refsr.tracker import Tracker
from refsr.training.distributed import together
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.precision import choose_device
from refsr.training.shortage import train_step
from refsr.training.state_file import prune, save_state, usable_state
from refsr.training.stop import StopRequest, stop_requests

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

    `folder`/state holds the resume points; refsr.steps takes them out once the folder is in place.
    A training that was killed goes on from the newest that is sound: on a CPU to the very weights
    of one that was not killed; a GPU adds up in another order each time. One that is finished goes
    on too, where `steps` has become more. Several processes train together where a launcher started
    them (see `refsr.training.distributed`).

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
        StoppedError: SIGTERM has stopped the training, and its state is saved.
    """
    (folder / STATE).mkdir(parents=True, exist_ok=True)
    with together(choose_device(params.device)) as processes, stop_requests() as stop:
        _check_shares(params.batch_size, processes.count)
        learner = Learner(model, params, objective, processes)
        _resume(learner, folder, tracker)
        _steps(learner, pairs, tracker, folder, picture, snapshot_at, stop)
    learner.export(folder / "model.safetensors")
    for name in learner.snapshots:
        shutil.copyfile(folder / STATE / name, folder / name)
    _write_history(folder / "history.csv", learner.history)
    prune(folder / STATE, 1)
    return _without_step(learner.history[-1])


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
    stop: StopRequest,
) -> None:
    """The steps that are left, with all that falls due between them."""
    params = learner.params
    clock = _Clock(params.batch_size, learner.step)
    with _progress(learner, folder.stem) as progress:
        while learner.step < params.steps:
            parts = train_step(learner, pairs)
            step = learner.step
            progress.update()
            if _due(step, params.log_every, params.steps):
                progress.show(**_log(learner, parts, tracker, clock))
            if picture is not None and _due(step, params.image_every, params.steps):
                tracker.image(picture(learner.averaged_model()), "fixed_batch", step)
            if step == snapshot_at:
                _export_snapshot(learner, folder / STATE / "warm.safetensors")
            is_stopped = step < params.steps and learner.processes.any(bool(stop))
            if is_stopped or _due(step, params.save_every, params.steps):
                _save(learner, folder)
            if is_stopped:
                raise stop.error(step)


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


def _resume(learner: Learner, folder: Path, tracker: Tracker) -> None:
    """Go on from the newest sound state, where there is one, and say so.

    The history of the steps before is reported again: a tracker that has it drops it.
    """
    chosen = learner.precision
    path = None
    if learner.processes.rank == 0:
        path = usable_state(folder / STATE, learner.params.steps)
    learner.resume(path or folder / STATE / "none")
    _logger.info(
        "%s on %s, %d process(es)", learner.precision, learner.device, learner.processes.count
    )
    tracker.tags(_tags(learner))
    for row in learner.history:
        tracker.metrics(_without_step(row), int(row["step"]))
    if learner.step:
        _logger.info("resumes at step %d of %d", learner.step, learner.params.steps)
    if learner.precision != chosen:
        begun = f"goes on in {learner.precision}, as it began"
        _logger.warning("%s; a new training would be in %s here", begun, chosen)


def _export_snapshot(learner: Learner, path: Path) -> None:
    learner.export(path)
    learner.snapshots[path.name] = checksum(path)


def _save(learner: Learner, folder: Path) -> None:
    """Save the state; the folder of other processes than the first is thrown away."""
    if learner.processes.rank == 0:
        save_state(learner, folder / STATE)


def _without_step(row: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in row.items() if key != "step"}


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
