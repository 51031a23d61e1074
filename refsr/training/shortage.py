"""Train a step, and find out which batch would fit where the memory is too small."""

import gc
from collections.abc import Iterator

import torch

from refsr.io.exhausted import BatchTooLargeError, out_of_memory
from refsr.training.history import Clock
from refsr.training.learner import Learner
from refsr.training.pairs import Batch


def train_step(learner: Learner, batches: Iterator[Batch], clock: Clock) -> None:
    """`Learner.train_step` with the next batch; the clock measures the wait for it.

    Raises:
        BatchTooLargeError: There is not enough memory; it says how many images fit. Of several
            processes each raises the error of its machine instead.
    """
    try:
        with clock.waiting():
            batch = next(batches)
        learner.train_step(batch)
        return
    except Exception as error:
        if learner.processes.count > 1 or not out_of_memory(error):
            raise
        # Its frames hold the tensors of the step.
        cause = error.with_traceback(None)
    raise BatchTooLargeError(_fitting(learner)) from cause


def _fitting(learner: Learner) -> int:
    """The largest of half, a quarter, ... of the batch with which a step can be trained; or 0."""
    count, least = learner.params.batch_size // 2, learner.params.accumulate
    while count >= least and not _fits(learner, count):
        count //= 2
    return count if count >= least else 0


def _fits(learner: Learner, count: int) -> bool:
    learner.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if learner.device == "cuda":
        torch.cuda.empty_cache()
    size = learner.config["hr_size"]
    try:
        images = torch.rand(count, 3, size, size, device=learner.device)
        ref = images if learner.config["model"] == "refsr" else None
        learner.train_step(Batch(images, ref))
    except Exception as error:
        if not out_of_memory(error):
            raise
        return False
    return True
