"""Train a little without writing an output: what a training costs, and whether it learns."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from refsr.config import Training, TrainRefsr
from refsr.dataset.curated import Curated
from refsr.models import SuperResolver
from refsr.models.describe import count
from refsr.training.embedder import untrained_embedder
from refsr.training.fit import pairs_for
from refsr.training.history import peak_mib
from refsr.training.learner import Learner
from refsr.training.objective import Objective
from refsr.training.pairs import Pairs

WARM_UP, TIMED = 1, 2  # steps


def estimate(model: nn.Module, faces: Curated, params: Training) -> dict[str, str]:
    """Sizes, and the memory and time of steps that are trained here: {title: text}."""
    config = cast(SuperResolver, model).config
    sizes = count(config)
    learner, pairs = _prepared(model, faces, params)
    seconds = min(_timed(learner, pairs))
    left = time.gmtime(seconds * params.steps)
    phase = params.sharpen.steps if isinstance(params, TrainRefsr) else 0
    loss = params.loss
    learns = f"{loss.identity_steps:,} steps of the embedder" if loss.trains_embedder else ""
    before = {"first": learns} if learns else {}
    after = {"then": f"{phase:,} steps of the generative phase, longer ones"} if phase else {}
    return {
        "network": ", ".join(f"{key} {value}" for key, value in config.items()),
        "parameters": f"{sizes['parameters']:,}",
        "MACs": f"{sizes['macs']:,} per upscaled image",
        "batch": f"{params.batch_size} images, {learner.precision} on {learner.device}",
        "memory": f"{peak_mib(learner.device):,.0f} MiB, the most so far",
        "time": f"{seconds:.3g} s per step, {params.batch_size / seconds:,.0f} images/s",
        **before,
        "training": f"{params.steps:,} steps, {_duration(left)} here without validation",
    } | after


def _duration(left: time.struct_time) -> str:
    hours = (left.tm_yday - 1) * 24 + left.tm_hour
    return f"{hours} h {left.tm_min} min {left.tm_sec} s"


def _prepared(model: nn.Module, faces: Curated, params: Training) -> tuple[Learner, Pairs]:
    objective = Objective(params.loss, params.steps, untrained_embedder(params.loss))
    learner = Learner(model, params, objective)
    return learner, pairs_for(model, faces, params)


def _timed(learner: Learner, pairs: Pairs) -> Iterator[float]:
    """The seconds of each step after the warm-up, with its batch."""
    for step in range(WARM_UP + TIMED):
        start = time.perf_counter()
        learner.train_step(pairs.batch(learner.step, learner.device))
        if learner.device == "cuda":
            torch.cuda.synchronize()
        if step >= WARM_UP:
            yield time.perf_counter() - start


def overfit(
    model: nn.Module, faces: Curated, params: Training, steps: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Train on the first batch alone; yields (step, loss and its parts) ten times.

    A network that cannot learn one batch by heart has a fault.
    """
    learner, pairs = _prepared(model, faces, params)
    batch = pairs.batch(0, learner.device)
    every = max(1, steps // 10)
    for step in range(1, steps + 1):
        parts = learner.train_step(batch)
        if step == 1 or step % every == 0:
            yield step, {name: float(value) for name, value in parts.items()}


def profile(model: nn.Module, faces: Curated, params: Training, steps: int, to: Path) -> Any:
    """Write a Chrome trace of so many steps, batches included; returns the table of operators."""
    learner, pairs = _prepared(model, faces, params)
    learner.train_step(pairs.batch(0, learner.device))
    with torch.profiler.profile() as profiler:
        for _ in range(steps):
            learner.train_step(pairs.batch(learner.step, learner.device))
    profiler.export_chrome_trace(str(to))
    by = "self_cuda_time_total" if learner.device == "cuda" else "self_cpu_time_total"
    return profiler.key_averages().table(sort_by=by, row_limit=10)
