"""The file from which a killed training goes on: read it, and refuse what is damaged."""

import math
from pathlib import Path
from typing import Any

import torch

from refsr.errors import RefsrError
from refsr.io.exhausted import lacks_memory_for
from refsr.io.own_files import is_whole


def require_sound_history(history: list[dict[str, float]], last: int) -> None:
    """Raises ValueError where a row cannot be one of a training that has come to step `last`."""
    for row in history:
        if not all(math.isfinite(value) for value in row.values()) or not 0 < row["step"] <= last:
            raise ValueError(f"its history has a row {row}")


def require_numbers(tensors: dict[str, torch.Tensor]) -> None:
    """Raises ValueError where a tensor holds an infinity or NaN."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not all numbers")


def read_state(path: Path, model: str) -> Any:
    """What `Learner.save` wrote.

    Raises RefsrError where it, or a snapshot beside it, is damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, known in state.get("snapshots", {}).items():
            if not is_whole(path.with_name(name), known):
                raise ValueError(f"{name} beside it is damaged")
        return state
    except Exception as error:  # PyTorch raises what it likes for a damaged or foreign file
        if lacks_memory_for(error, path):
            raise
        raise unusable(path, model, error) from error


def unusable(path: Path, model: str, error: Exception) -> RefsrError:
    """The message for a state file that this training cannot go on from."""
    reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
    return RefsrError(
        f"{path}: damaged, or of another training ({reason}); delete it and run the stage "
        f"`train_{model}` again"
    )
