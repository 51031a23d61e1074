"""Where a network is run."""

import torch

from refsr.errors import RefsrError


def choose_device(requested: str) -> str:
    """ "cuda" or "cpu". Raises RefsrError where CUDA is asked for and absent."""
    if requested == "cuda" and not torch.cuda.is_available():
        raise RefsrError(
            "device: cuda was asked for, but torch sees no GPU here; set device: auto or cpu",
        )
    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return requested
