"""Train a step, and find out which batch would fit where the memory is too small."""

import gc

import torch

from refsr.io.exhausted import BatchTooLargeError, out_of_memory
from refsr.training.learner import Learner
from refsr.training.pairs import Batch


def train_step(learner: Learner, batch: Batch) -> dict[str, torch.Tensor]:
    """`Learner.train_step`.

    Raises:
        BatchTooLargeError: There is not enough memory; it says how many images fit. Of several
            processes each raises the error of its machine instead.
    """
    try:
        return learner.train_step(batch)
    except Exception as error:
        if learner.processes.count > 1 or not out_of_memory(error):
            raise
        # Its frames hold the tensors of the step.
        cause = error.with_traceback(None)
    raise BatchTooLargeError(_fitting(learner, batch)) from cause


def _fitting(learner: Learner, batch: Batch) -> int:
    """The largest of half, a quarter, ... of the batch with which a step can be trained; or 0."""
    count = len(batch.hr) // 2
    while count and not _fits(learner, batch, count):
        count //= 2
    return count


def _fits(learner: Learner, batch: Batch, count: int) -> bool:
    learner.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if learner.device == "cuda":
        torch.cuda.empty_cache()
    ref = None if batch.ref is None else batch.ref[:count]
    try:
        learner.train_step(batch._replace(hr=batch.hr[:count], ref=ref))
    except Exception as error:
        if not out_of_memory(error):
            raise
        return False
    return True
