"""A network that learns: one update from one batch, its averaged weights and its state file."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from refsr.config import Sharpen, Training
from refsr.dataset.real_degradation import small
from refsr.io.atomic import write_file
from refsr.io.exhausted import out_of_memory
from refsr.io.own_files import Checksum
from refsr.models import SuperResolver, build
from refsr.models.checkpoint import save_model
from refsr.training.acceleration import compiled
from refsr.training.adversary import Adversary
from refsr.training.distributed import ALONE, Processes
from refsr.training.means import Means
from refsr.training.objective import Objective
from refsr.training.pairs import Batch
from refsr.training.precision import choose_device, choose_precision
from refsr.training.state_file import (
    read_state,
    require_numbers,
    require_sound_history,
    unusable,
)
from refsr.variants import VARIANTS


class Learner:
    """The state of a training: network, averaged copy, optimiser, step and history."""

    def __init__(
        self,
        model: nn.Module,
        params: Training,
        objective: Objective,
        processes: Processes = ALONE,
        sharpen: Sharpen | None = None,
    ) -> None:
        self.params = params
        self.processes = processes
        self.device = choose_device(params.device)
        self.precision = processes.from_first(choose_precision(params.precision, self.device))
        self.model = _placed(model, self.device)
        self.parallel = processes.parallel(self.model)
        self.config = cast(SuperResolver, model).config
        self.objective = objective.to(self.device)
        if self.device == "cuda":  # on a CPU this would change the last digits
            _placed(self.objective, self.device)
        self.adversary = None
        if sharpen:
            self.adversary = Adversary(sharpen, self.config["scale"], self.device, params.seed)
        self._losses = self._eager_losses
        if params.compile:
            self._losses = compiled(self._eager_losses, self.device)
        self.average = {key: value.detach().clone() for key, value in model.state_dict().items()}
        optimizer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[params.optimizer]
        self.optimizer = optimizer(
            parameter_groups(model, VARIANTS[self.config["variant"]].bias_rate),
            params.learning_rate,
            weight_decay=params.weight_decay,
            fused=True,
        )
        self.step = 0
        self.history: list[dict[str, float]] = []
        self.snapshots: dict[str, Checksum] = {}  # of the checkpoints exported on the way, by name
        self.means = Means()  # since the last row of the history
        self.rate = 1.0  # a factor of the learning rate
        self.best: dict[str, Any] = {}  # by, value, step and average; see training.validation
        self.waited = 0  # validations since the best

    def train_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One update from one batch.

        Returns the loss and its parts of this process's share, still on the device.
        """
        torch.manual_seed(
            self.params.seed * 1_000_003 + self.step + self.processes.rank * 1_000_000_007,
        )
        batch = self.processes.share(batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * group.get("multiple", 1)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._gradients(batch)
        parts["gradient_norm"] = self._clipped()
        self.optimizer.step()
        if self.adversary:
            parts |= self.adversary.learn(self.step, self.processes)
        self.step += 1
        self._average()
        self.means.add(parts, self.step)
        return parts

    def _gradients(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The gradients of a batch, added up over its parts; returns the loss and its parts."""
        count = self.params.accumulate
        if count == 1:
            return self._backward(batch)
        with self.processes.unsynchronised(self.parallel):
            before = [self._backward(batch.every(part, count)) for part in range(count - 1)]
        all_parts = [*before, self._backward(batch.every(count - 1, count))]
        means = {
            name: torch.stack([each[name] for each in all_parts]).mean(0) for name in all_parts[0]
        }
        return means | {"loss": means["loss"] * (count if self._is_sum else 1)}

    def _backward(self, batch: Batch) -> dict[str, torch.Tensor]:
        lr = small(batch.hr, self.config["scale"], self.params.degradation)
        parts: dict[str, torch.Tensor] = self._losses(lr, batch, self._step_of_losses())
        if self._is_sum:  # gradients are averaged over the processes
            parts["loss"] = parts["loss"] * self.processes.count
        is_mean_of_parts = self.params.accumulate > 1 and not self._is_sum
        loss = parts["loss"] / self.params.accumulate if is_mean_of_parts else parts["loss"]
        torch.autograd.backward(loss)
        copies = self.params.compile  # the memory of a CUDA graph is used again
        return {
            name: part.detach().clone() if copies else part.detach() for name, part in parts.items()
        }

    def _eager_losses(
        self, lr: torch.Tensor, batch: Batch, step: int | torch.Tensor
    ) -> dict[str, torch.Tensor]:
        with self._autocast():
            output = self.parallel(lr, *batch.inputs())
            parts: dict[str, torch.Tensor] = self.objective(output, lr, batch.hr, step)
            if self.adversary:
                term = self.adversary.term(output.sr, batch.hr, lr)
                loss = parts["loss"] + self.adversary.params.adversarial_weight * term
                parts |= {"loss": loss, "adversarial": term}
        return parts

    def _step_of_losses(self) -> int | torch.Tensor:
        """The step; in a compiled function a number would be a constant."""
        if not self.params.compile:
            return self.step
        return torch.full((), float(self.step), device=self.device)

    @property
    def _is_sum(self) -> bool:
        return bool(self.objective.loss.kind == "released")

    @property
    def learning_rate(self) -> float:
        """That of the present step."""
        return self.rate * self.params.learning_rate * schedule(self.step, self.params)

    def _clipped(self) -> torch.Tensor:
        """Clip the gradients where a parameter says so; returns their norm before."""
        if self.params.clip_norm:
            return nn.utils.clip_grad_norm_(self.model.parameters(), self.params.clip_norm)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

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

    def averaged_model(self, average: dict[str, torch.Tensor] | None = None) -> nn.Module:
        """A copy of the network with averaged weights, in evaluation mode; the present by default.

        The random state stays as it is.
        """
        with torch.random.fork_rng(devices=[]):
            copy = build(self.config)
        copy.load_state_dict(average or self.average)
        return _placed(copy, self.device).eval()

    def export(self, path: Path) -> None:
        """Write the averaged network as a checkpoint."""
        save_model(path, self.averaged_model(), self._facts(self.step))

    def export_best(self, path: Path) -> None:
        """Write the network that was best in validation, if there was any."""
        if self.best:
            network = self.averaged_model(self.best["average"])
            save_model(path, network, self._facts(self.best["step"]))

    def _facts(self, step: int) -> dict[str, Any]:
        return {"step": step, "loss_networks": self.objective.networks}

    def save(self, path: Path) -> None:
        """Write all that a resumed training needs, beside `path`, then rename."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "steps": self.params.steps,
            "history": self.history,
            "precision": self.precision,
            "snapshots": self.snapshots,
            "means": self.means.state(),
            "rate": self.rate,
            "best": self.best,
            "waited": self.waited,
            "adversary": self.adversary.state() if self.adversary else None,
        }
        write_file(path, lambda partial: torch.save(state, partial))

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote, if it did.

        Of several processes all from what the first finds.
        """
        model = self.config["model"]
        state = read_state(path, model) if path.exists() else None
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
            self.rate, self.best = state.get("rate", 1.0), state.get("best", {})
            self.waited = state.get("waited", 0)
            if self.adversary:
                self.adversary.load(state["adversary"])
            self.means.clear()
            if "means" in state:
                self.means.load(state["means"], self.device)
            if (
                not 0 <= self.step <= self.params.steps
                or self.average.keys() != state["model"].keys()
            ):
                raise ValueError(f"step {self.step} of {self.params.steps}")
            require_sound_history(self.history, self.step)
            require_numbers({**state["model"], **state["average"]})
        except Exception as error:  # PyTorch raises what it likes for a state of another shape
            if out_of_memory(error):
                raise
            raise unusable(path, model, error) from error


def _placed(model: nn.Module, device: str) -> nn.Module:
    """The network on its device, in the memory layout that convolutions are quickest in."""
    placed: nn.Module = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def parameter_groups(model: nn.Module, bias_rate: float) -> list[dict[str, Any]]:
    """For the optimiser: all parameters; biases of fully connected layers apart, see `Variant`."""
    if bias_rate == 1:
        return [{"params": list(model.parameters())}]
    layers = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    biases = [layer.bias for layer in layers]
    apart = {id(bias) for bias in biases}
    others = [p for p in model.parameters() if id(p) not in apart]
    return [{"params": others}, {"params": biases, "multiple": bias_rate, "weight_decay": 0.0}]


def schedule(step: int, params: Training) -> float:
    """The share of the learning rate at a step.

    Linear warm-up, constant, then linear to 3% over the last 40%. With `schedule: cosine` it falls
    to 3% from the first step on, with `constant` not at all.
    """
    warm = min(1.0, (step + 1) / max(1, params.warmup_steps))
    if params.schedule == "cosine":
        done = math.cos(math.pi * step / params.steps)
        return warm * (0.03 + 0.97 * (1 + done) / 2)
    if params.schedule == "constant":
        return warm
    left = (params.steps - step) / (0.4 * params.steps)
    return warm * (0.03 + 0.97 * min(1.0, left))
