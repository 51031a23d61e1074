"""The files from which a killed training goes on: write, choose and read them.

A folder holds the last KEPT of them, named by their step. Each is a zip file of PyTorch, which
holds a CRC-32 of every tensor: all are compared before a training goes on.
"""

import errno
import logging
import math
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from refsr.errors import RefsrError
from refsr.io import atomic
from refsr.io.exhausted import lacks_memory_for
from refsr.io.own_files import is_whole

if TYPE_CHECKING:
    from refsr.training.learner import Learner

KEPT = 3  # files
# What the system says of a file, not of a disk; EINVAL: a damaged zip file names a place before
# its own start. Python's own errors have no number.
_FILE_ERRORS = (None, errno.ENOENT, errno.EISDIR, errno.EINVAL)
_UNUSED = ".unused"  # what a file is renamed to that cannot be gone on from
_logger = logging.getLogger(__name__)


class NotANumberError(RefsrError):
    """A loss, a gradient or a weight is infinite or NaN."""


def require_saveable(learner: "Learner", folder: Path) -> None:
    """Raises NotANumberError where a weight is no number."""
    try:
        require_numbers(dict(_all_tensors(learner)))
    except ValueError as error:
        raise NotANumberError(_no_number(learner.step, error, folder)) from error


def save_state(learner: "Learner", folder: Path) -> None:
    """Save a training; the oldest file is deleted once the new one is on the disk.

    Raises:
        NotANumberError: A weight is no number. Nothing is written, so that older files stay.
    """
    require_saveable(learner, folder)
    learner.save(folder / f"{learner.step:08d}.pt")
    atomic.flush_folder(folder)
    prune(folder, KEPT)


def _all_tensors(learner: "Learner") -> Iterator[tuple[str, torch.Tensor]]:
    yield from learner.model.state_dict().items()
    yield from ((f"the average of {name}", value) for name, value in learner.average.items())
    if learner.adversary:
        weights = learner.adversary.network.state_dict().items()
        yield from ((f"{name} of the discriminator", value) for name, value in weights)
    for index, moments in learner.optimizer.state_dict()["state"].items():
        named = {f"{name} {index} of the optimizer": value for name, value in moments.items()}
        yield from ((name, value) for name, value in named.items() if torch.is_tensor(value))


def _no_number(step: int, error: ValueError, folder: Path) -> str:
    saved = states(folder)
    kept = f"; {saved[-1]} holds the step before that was saved" if saved else ""
    return f"training: at step {step} {error}, and is not saved{kept}; lower learning_rate"


def states(folder: Path) -> list[Path]:
    """The files of a folder, the newest last."""
    return sorted(folder.glob("*.pt"))


def prune(folder: Path, count: int) -> None:
    """Delete all but the newest `count` files."""
    for path in states(folder)[:-count]:
        path.unlink()


def usable_state(folder: Path, steps: int) -> Path | None:
    """The newest file from which a training of so many steps can go on.

    Each that is passed over is reported and renamed, so that it is not taken for a newer one.

    Raises:
        OSError: A file cannot be read, though it may be sound.
    """
    for path in reversed(states(folder)):
        try:
            state = read_state(path, "")
        except RefsrError as error:
            reason = str(error).partition("; ")[0]
        else:
            planned = state.get("steps", steps)
            if planned < steps:
                _logger.info("goes on with a training of %d steps in %s", planned, path)
            if planned <= steps:
                return path
            reason = f"{path}: of a training of {planned} steps, not {steps}"
        _logger.warning("%s; an earlier step is taken", reason)
        path.rename(path.with_name(path.name + _UNUSED))
    for snapshot in folder.glob("*.safetensors"):
        atomic.remove(snapshot)
    return None


def require_sound_history(history: list[dict[str, float]], last: int) -> None:
    """Raises ValueError where a row cannot be one of a training that has come to step `last`."""
    for row in history:
        if not all(math.isfinite(value) for value in row.values()) or not 0 < row["step"] <= last:
            raise ValueError(f"its history has a row {row}")


def require_numbers(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError where a tensor holds an infinity or NaN."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not all numbers")


def _require_checksums(path: Path) -> None:
    """Raises ValueError or BadZipFile where a part of the file differs from its CRC-32."""
    with zipfile.ZipFile(path) as archive:
        if name := archive.testzip():
            raise ValueError(f"{name} does not match its checksum")


def read_state(path: Path, model: str) -> Any:
    """What `Learner.save` wrote.

    Raises RefsrError where it, or a snapshot beside it, is damaged.
    """
    try:
        _require_checksums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, known in state.get("snapshots", {}).items():
            if not is_whole(path.with_name(name), known):
                raise ValueError(f"{name} beside it is damaged")
        return state
    except Exception as error:  # PyTorch raises what it likes for a damaged or foreign file
        if lacks_memory_for(error, path) or _is_disk_error(error):
            raise
        raise unusable(path, model, error) from error


def _is_disk_error(error: Exception) -> bool:
    """Whether reading failed, which says nothing about the file."""
    return isinstance(error, OSError) and error.errno not in _FILE_ERRORS


def unusable(path: Path, model: str, error: Exception) -> RefsrError:
    """The message for a state file that this training cannot go on from."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return RefsrError(
        f"{path}: damaged, or of another training ({reason}); delete it and run the stage "
        f"`train_{model}` again"
    )
