"""The training loop, the only one: both networks and every variant go through it."""

import logging
import math
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from refsr.config import Sharpen, Training
from refsr.errors import RefsrError
from refsr.io.own_files import checksum
from refsr.io.retained import STATE
from refsr.progress import Progress
from refsr.tracker import Tracker
from refsr.training.acceleration import deterministic
from refsr.training.distributed import together
from refsr.training.feed import batches
from refsr.training.history import Clock, row, without_step, write_history
from refsr.training.learner import Learner
from refsr.training.not_a_number import require_numbers_so_far, roll_back
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs
from refsr.training.precision import choose_device
from refsr.training.reports import Reports
from refsr.training.shortage import train_step
from refsr.training.state_file import (
    NotANumberError,
    prune,
    require_saveable,
    save_state,
    usable_state,
)
from refsr.training.stop import StopRequest, stop_requests
from refsr.training.validation import PREFIX, Validation, note

CHECKPOINTS = MODEL, BEST = "model.safetensors", "best.safetensors"
Picture = Callable[[nn.Module], np.ndarray]
_logger = logging.getLogger(__name__)


class Between(NamedTuple):
    """What is done between steps, and where to."""

    tracker: Reports
    folder: Path
    picture: Picture | None
    validate: Validation | None
    snapshot_at: int


def train(
    model: nn.Module,
    pairs: Pairs,
    params: Training,
    objective: Objective,
    tracker: Tracker,
    folder: Path,
    *,
    picture: Picture | None = None,
    validate: Validation | None = None,
    snapshot_at: int = 0,
    sharpen: Sharpen | None = None,
) -> dict[str, float]:
    """Train a network; writes model.safetensors (averaged weights) and history.csv.

    With `validate`, best.safetensors has the averaged weights that were best in validation.

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
        validate: Measures the network on people it is not trained on.
        snapshot_at: The step whose averaged weights are written to warm.safetensors too.
        sharpen: Train against a discriminator, with these parameters.

    Returns:
        The last numbers.

    Raises:
        NotANumberError: The loss, a gradient or a weight is no longer a number.
        RefsrError: A batch cannot be shared.
        StoppedError: SIGTERM has stopped the training, and its state is saved.
    """
    (folder / STATE).mkdir(parents=True, exist_ok=True)
    reports = Reports(tracker, holds=params.on_nan == "roll_back")
    between = Between(reports, folder, picture, validate, snapshot_at)
    with (
        deterministic(is_asked=params.deterministic),
        together(choose_device(params.device)) as processes,
        stop_requests() as stop,
    ):
        _check_shares(params.batch_size, processes.count * params.accumulate)
        learner = Learner(model, params, objective, processes, sharpen)
        _resume(learner, folder, tracker)
        _train_on(learner, pairs, between, stop)
    _write(learner, folder)
    return without_step(learner.history[-1])


def _train_on(learner: Learner, pairs: Pairs, between: Between, stop: StopRequest) -> None:
    """The steps that are left; where `on_nan` says so, once again from before what is no number."""
    reports = between.tracker
    if learner.rate < 1:  # it was rolled back, which happens once
        reports.forget()
    try:
        _steps(learner, pairs, between, stop)
    except NotANumberError as error:
        roll_back(learner, between.folder, error)
        reports.forget()
        reports.tags({"rolled_back": f"to step {learner.step}"})
        _steps(learner, pairs, between, stop)
    finally:
        reports.release()


def _write(learner: Learner, folder: Path) -> None:
    """The outputs of a training that has ended."""
    learner.export(folder / MODEL)
    learner.export_best(folder / BEST)
    for name in learner.snapshots:
        shutil.copyfile(folder / STATE / name, folder / name)
    write_history(folder / "history.csv", learner.history)
    prune(folder / STATE, 1)


def checkpoints_of(folder: Path) -> list[Path]:
    """The networks of a finished training: the last, and the best where it was validated."""
    return [folder / name for name in CHECKPOINTS if (folder / name).is_file()]


def _check_shares(batch_size: int, shares: int) -> None:
    if batch_size % shares:
        what = "processes times accumulate"
        raise RefsrError(f"batch_size {batch_size} cannot be shared by {shares} ({what})")


def _steps(learner: Learner, pairs: Pairs, between: Between, stop: StopRequest) -> None:
    """The steps that are left, with all that falls due between them."""
    params = learner.params
    clock = Clock(params.batch_size, learner.step)
    feed = closing(batches(pairs, learner.device, learner.step, params.steps))
    with feed as ahead, _progress(learner, between.folder.stem) as progress:
        while not _is_finished(learner, between):
            train_step(learner, ahead, clock)
            progress.update()
            validated = _validate(learner, pairs, between)
            is_last = _is_finished(learner, between)
            if validated or is_last or learner.step % params.log_every == 0:
                require_numbers_so_far(learner, pairs, between.folder)
                progress.show(**_log(learner, between.tracker, clock, validated))
            _show(learner, between, is_last)
            is_stopped = not is_last and learner.processes.any(bool(stop))
            if is_stopped or is_last or learner.step % params.save_every == 0:
                _save(learner, pairs, between.folder)
                between.tracker.release()
            if is_stopped:
                raise stop.error(learner.step)


def _is_finished(learner: Learner, between: Between) -> bool:
    """Whether all steps are done, or validation has not become better for long enough."""
    params = learner.params
    is_stale = bool(params.patience) and learner.waited >= params.patience
    is_stale = is_stale and learner.step >= between.snapshot_at
    return learner.step >= params.steps or is_stale


def _validate(learner: Learner, pairs: Pairs, between: Between) -> dict[str, float]:
    """The numbers of validation, where it is due; of several processes those of the first."""
    every = learner.params.validate_every
    is_due = every and (learner.step % every == 0 or learner.step == learner.params.steps)
    if between.validate is None or not is_due:
        return {}
    require_numbers_so_far(learner, pairs, between.folder)
    is_first = learner.processes.rank == 0
    numbers = between.validate(learner.averaged_model()) if is_first else {}
    numbers = learner.processes.from_first(numbers)
    note(learner, numbers)
    return numbers


def _show(learner: Learner, between: Between, is_last: bool) -> None:
    """The picture and the snapshot, where they are due."""
    step, picture = learner.step, between.picture
    if picture is not None and (is_last or step % learner.params.image_every == 0):
        between.tracker.image(picture(learner.averaged_model()), "fixed_batch", step)
    if step == between.snapshot_at:
        _export_snapshot(learner, between.folder / STATE / "warm.safetensors")


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
    learner: Learner, tracker: Tracker, clock: Clock, validated: dict[str, float]
) -> dict[str, str]:
    """Add a row to the history; returns what the progress bar shows."""
    numbers = row(learner, clock, validated)
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        raise NotANumberError(f"training: no number at step {learner.step}: {bad} ({numbers})")
    learner.history.append(numbers)
    tracker.metrics(without_step(numbers), learner.step)
    shown = {"loss": f"{numbers['loss']:.4f}"}
    shown |= {name.removeprefix(PREFIX): f"{value:.4g}" for name, value in _psnr(learner)}
    return shown | {"images_per_s": f"{numbers['images_per_second']:.0f}"}


def _psnr(learner: Learner) -> list[tuple[str, float]]:
    """The PSNR of the last validation."""
    rows = (each for each in reversed(learner.history) if f"{PREFIX}loss" in each)
    last = next(rows, {})
    return [(name, value) for name, value in last.items() if name.startswith(f"{PREFIX}psnr")]


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
    for each in learner.history:
        tracker.metrics(without_step(each), int(each["step"]))
    if learner.step:
        _logger.info("resumes at step %d of %d", learner.step, learner.params.steps)
    elif learner.params.on_nan == "roll_back" and learner.processes.rank == 0:
        save_state(learner, folder / STATE)  # to roll back to
    if learner.precision != chosen:
        begun = f"goes on in {learner.precision}, as it began"
        _logger.warning("%s; a new training would be in %s here", begun, chosen)


def _export_snapshot(learner: Learner, path: Path) -> None:
    learner.export(path)
    learner.snapshots[path.name] = checksum(path)


def _save(learner: Learner, pairs: Pairs, folder: Path) -> None:
    """Save the state; the folder of other processes than the first is thrown away."""
    require_numbers_so_far(learner, pairs, folder)
    if learner.processes.rank == 0:
        save_state(learner, folder / STATE)
    else:
        require_saveable(learner, folder / STATE)
