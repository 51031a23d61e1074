"""What a training measures of itself on people it is not trained on."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import nn

from refsr.config import Training
from refsr.dataset.curated import Curated
from refsr.dataset.real_degradation import small
from refsr.models import SuperResolver
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pictures import fixed_faces

FACES, OF_ONE = 64, 4  # most images that are measured, in all and of one person
PREFIX = "validation."
_ROUNDING = 1 / 12 / 255**2  # mean squared error of rounding to 8 bits
Validation = Callable[[nn.Module], dict[str, float]]


def validation(
    curated: Curated, scale: int, params: Training, objective: Objective, *, references: bool
) -> Validation:
    """A function that measures model -> numbers, always the same ones of the same weights.

    They are `validation.loss`, by the whole weight of KL, and PSNR in dB: `validation.psnr_none`
    and, with `references`, `validation.psnr_right`. The people are those of the split
    `validation`, or of `train` where a small set has none. No random state is changed.
    """
    hr, ref = fixed_faces(curated, FACES, OF_ONE)
    size = params.batch_size

    def batches(device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(hr), size):
            own = slice(start, start + size)
            yield hr[own].to(device), ref[own].to(device)

    @torch.no_grad()
    def measure(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        sums: dict[str, float] = {}
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(params.seed)
            for images, right in batches(device):
                given = right if references else None
                lr = small(images, scale, params.degradation, params.seed)
                numbers = _measured(model, objective, lr, images, given)
                for name, value in numbers.items():
                    sums[name] = sums.get(name, 0.0) + value * len(images)
        return {PREFIX + name: total / len(hr) for name, total in sums.items()}

    return measure


def _measured(
    model: nn.Module,
    objective: Objective,
    lr: torch.Tensor,
    hr: torch.Tensor,
    ref: torch.Tensor | None,
) -> dict[str, float]:
    network = cast(SuperResolver, model)
    parts = objective(model(lr, hr, ref), lr, hr, objective.steps)
    numbers = {"loss": float(parts["loss"]), "psnr_none": _psnr(network.upscale(lr, None), hr)}
    if ref is not None:
        numbers["psnr_right"] = _psnr(network.upscale(lr, ref), hr)
    return numbers


def _psnr(sr: torch.Tensor, hr: torch.Tensor) -> float:
    """As in refsr.evaluation.image_quality, mean over the images."""
    error = (sr.clamp(0, 1).double() - hr.double()).square().mean((1, 2, 3))
    return float((-10 * error.clamp_min(_ROUNDING).log10()).mean())


def note(learner: Learner, numbers: dict[str, float]) -> None:
    """Keep the averaged weights where they are the best so far, by `best_by`; or count."""
    name = learner.params.best_by
    value = numbers[PREFIX + name]
    best = learner.best
    if best and best["by"] == name and not _is_better(name, value, best["value"]):
        learner.waited += 1
        return
    learner.waited = 0
    average = {key: tensor.to("cpu", copy=True) for key, tensor in learner.average.items()}
    learner.best = {"by": name, "value": value, "step": learner.step, "average": average}


def _is_better(name: str, value: float, best: float) -> bool:
    return value < best if name == "loss" else value > best
