"""The training loop, the only one: both networks and every variant go through it."""

import csv
import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from refsr.config import Training
from refsr.dataset.degradation import reduce
from refsr.errors import RefsrError
from refsr.io.atomic import write_file
from refsr.io.exhausted import lacks_memory_for, out_of_memory
from refsr.io.own_files import Checksum, checksum, is_whole
from refsr.models import SuperResolver, build
from refsr.models.checkpoint import save_model
from refsr.progress import Progress
from refsr.tracker import Tracker
from refsr.training.distributed import ALONE, Processes, together
from refsr.training.objective import Objective
from refsr.training.pairs import Batch, Pairs
from refsr.training.precision import choose_device, choose_precision

Picture = Callable[[nn.Module], np.ndarray]
_logger = logging.getLogger(__name__)


class Learner:
    """The state of a training: network, averaged copy, optimiser, step and history."""

    def __init__(
        self,
        model: nn.Module,
        params: Training,
        objective: Objective,
        processes: Processes = ALONE,
    ) -> None:
        self.params = params
        self.processes = processes
        self.device = choose_device(params.device)
        self.precision = processes.from_first(choose_precision(params.precision, self.device))
        self.model = _placed(model, self.device)
        self.parallel = processes.parallel(self.model)
        self.config = cast(SuperResolver, model).config
        self.objective = objective.to(self.device)
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}
        optimizer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[params.optimizer]
        self.optimizer = optimizer(
            model.parameters(),
            params.learning_rate,
            weight_decay=params.weight_decay,
            fused=True,
        )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.snapshots: dict[str, Checksum] = {}  # of the checkpoints exported on the way, by name

    def train_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One update from one batch.

        Returns the loss and its parts of this process's share, still on the device.
        """
        torch.manual_seed(
            self.params.seed * 1_000_003 + self.step + self.processes.rank * 1_000_000_007,
        )
        batch = self.processes.share(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.params.learning_rate * schedule(self.step, self.params)
        lr = reduce(batch.hr, self.config["scale"])
        self.model.train()
        with self._autocast():
            parts = self.objective(self.parallel(lr, batch.hr, batch.ref), lr, batch.hr, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        parts["loss"].backward()
        if self.params.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._average()
        return {name: part.detach() for name, part in parts.items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "bfloat16":
            return torch.autocast(self.device, torch.bfloat16)
        return nullcontext()

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, quick at first."""
        keep = min(self.params.ema, self.step / (self.step + 9))
        current = self.model.state_dict()
        torch._foreach_lerp_(
            [self.average[key] for key in current], list(current.values()), 1 - keep
        )

    def averaged_model(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        copy = build(self.config)
        copy.load_state_dict(self.average)
        return _placed(copy, self.device).eval()

    def export(self, path: Path) -> None:
        """Write the averaged network as a checkpoint."""
        facts = {"step": self.step, "loss_networks": self.objective.networks}
        save_model(path, self.averaged_model(), facts)

    def save(self, path: Path) -> None:
        """Write all that a resumed training needs, beside `path`, then rename."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "history": self.history,
            "precision": self.precision,
            "snapshots": self.snapshots,
        }
        write_file(path, lambda partial: torch.save(state, partial))

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote, if it did.

        Of several processes all from what the first finds.
        """
        model = self.config["model"]
        state = _read_state(path, model) if path.exists() else None
        state = self.processes.from_first(state)
        if state is None:
            return
        try:
            self.model.load_state_dict(state["model"])
            self.average = {
                key: value.to(self.average[key].device) for key, value in state["average"].items()
            }
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.history, self.precision = (
                state["step"],
                state["history"],
                state["precision"],
            )
            self.snapshots = state.get("snapshots", {})
            if (
                not 0 <= self.step <= self.params.steps
                or self.average.keys() != state["model"].keys()
            ):
                raise ValueError(f"step {self.step} of {self.params.steps}")
            _require_sound_history(self.history, self.step)
            _require_numbers({**state["model"], **state["average"]})
        except Exception as error:  # PyTorch raises what it likes for a state of another shape
            if out_of_memory(error):
                raise
            raise _no_state(path, model, error) from error


def _require_sound_history(history: list[dict[str, float]], last: int) -> None:
    """Raises ValueError where a row cannot be one of a training that has come to step `last`."""
    for row in history:
        if not all(math.isfinite(value) for value in row.values()) or not 0 < row["step"] <= last:
            raise ValueError(f"its history has a row {row}")


def _require_numbers(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not all numbers")


def _read_state(path: Path, model: str) -> Any:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, known in state.get("snapshots", {}).items():
            if not is_whole(path.with_name(name), known):
                raise ValueError(f"{name} beside it is damaged")
        return state
    except Exception as error:  # PyTorch raises what it likes for a damaged or foreign file
        if lacks_memory_for(error, path):
            raise
        raise _no_state(path, model, error) from error


def _no_state(path: Path, model: str, error: Exception) -> RefsrError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return RefsrError(
        f"{path}: damaged, or of another training ({reason}); delete it and run the stage `train_{model}` again",
    )


def _placed(model: nn.Module, device: str) -> nn.Module:
    """The network on its device, in the memory layout that convolutions are quickest in."""
    placed: nn.Module = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def schedule(step: int, params: Training) -> float:
    """The share of the learning rate at a step.

    Linear warm-up, constant, then linear to 3% over the last 40%. With `schedule: constant` it does
    not fall.
    """
    warm = min(1.0, (step + 1) / max(1, params.warmup_steps))
    if params.schedule == "constant":
        return warm
    left = (params.steps - step) / (0.4 * params.steps)
    return warm * (0.03 + 0.97 * min(1.0, left))


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
