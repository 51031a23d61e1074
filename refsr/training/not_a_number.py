"""A training whose loss or weights are no numbers: keep the batch, and stop or roll back."""

import logging
from pathlib import Path

import numpy as np

from refsr.io.atomic import write_file
from refsr.io.retained import STATE
from refsr.training.learner import Learner
from refsr.training.pairs import Batch, Pairs
from refsr.training.state_file import NotANumberError, usable_state

SLOWER = 0.5  # the share of the learning rate after a training is rolled back
_NEVER = 2**40  # a step that no training comes to
_logger = logging.getLogger(__name__)


def require_numbers_so_far(learner: Learner, pairs: Pairs, folder: Path) -> None:
    """Check the losses and gradients of all processes since the last report.

    Raises:
        NotANumberError: One is no number; it says where the batch of its step is kept.
    """
    own = learner.means.bad_step() or _NEVER
    step = -learner.processes.largest(-own)
    if step == _NEVER:
        return
    path = folder / STATE / f"batch-{step:08d}.npz"
    _keep(pairs.batch(step - 1, "cpu"), path)
    is_stop = learner.params.on_nan == "stop"
    advice = "lower learning_rate" + (", or set on_nan: roll_back" if is_stop else "")
    raise NotANumberError(
        f"training: the loss or a gradient is no number at step {step}; {advice}. "
        f"The batch of this step is kept in {path}"
    )


def _keep(batch: Batch, path: Path) -> None:
    arrays = {name: part.numpy() for name, part in batch._asdict().items() if part is not None}

    def write(partial: Path) -> None:
        with partial.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_file(path, write)


def roll_back(learner: Learner, folder: Path, error: NotANumberError) -> None:
    """Go back to the newest state, once, with a lower rate.

    Raises:
        NotANumberError: The parameters say stop, or it was rolled back before.
    """
    if learner.params.on_nan == "stop" or learner.rate < 1:
        raise error
    path = None
    if learner.processes.rank == 0:
        path = usable_state(folder / STATE, learner.params.steps)
    if learner.processes.from_first(path is None):
        raise error
    learner.resume(path or folder / STATE / "none")
    learner.rate = SLOWER
    rate = learner.params.learning_rate * SLOWER
    _logger.warning("%s. Rolled back to step %d, learning_rate %g", error, learner.step, rate)
