"""The rows of history.csv: a training's numbers by step."""

import csv
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from refsr.training.learner import Learner

# Columns that differ between two runs of the same training.
MEASURED = ("images_per_second", "data_wait", "memory_mib")


class Clock:
    """What passes between two rows."""

    def __init__(self, batch_size: int, step: int) -> None:
        self._batch_size, self._step = batch_size, step
        self._since, self._waited = time.perf_counter(), 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Measure the block as waiting for data."""
        since = time.perf_counter()
        yield
        self._waited += time.perf_counter() - since

    def lap(self, step: int) -> dict[str, float]:
        """Images per second, and the share of time in which a batch was waited for."""
        passed = time.perf_counter() - self._since
        rate = (step - self._step) * self._batch_size / passed
        wait = self._waited / passed
        self._step, self._since, self._waited = step, self._since + passed, 0.0
        return {"images_per_second": rate, "data_wait": wait}


def row(learner: Learner, clock: Clock, validated: dict[str, float]) -> dict[str, float]:
    """The row of the present step: means since the row before, and the last validation."""
    numbers = learner.means.values()
    learner.means.clear()
    numbers |= {"learning_rate": learner.optimizer.param_groups[0]["lr"]}
    numbers |= clock.lap(learner.step)
    numbers |= {"memory_mib": peak_mib(learner.device)}
    return {"step": learner.step} | numbers | validated


def peak_mib(device: str) -> float:
    """The most memory in use so far: of the GPU, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def without_step(row: dict[str, float]) -> dict[str, float]:
    """A row as metrics."""
    return {key: value for key, value in row.items() if key != "step"}


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """Write the rows; what a row lacks stays empty."""
    columns = dict.fromkeys(key for each in history for key in each)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        writer.writerows(history)
