"""Device and precision, chosen by measuring: the fast choice depends on the machine."""

import time

import torch
from torch import nn

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


def choose_precision(requested: str, device: str) -> str:
    """ "float32" or "bfloat16".

    "auto" is bfloat16 on a GPU that has it, and on a CPU where it measures faster.

    A CPU flag does not decide it: on some processors with bfloat16 instructions it is the slower
    of the two.
    """
    if requested != "auto":
        return requested
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if _seconds(torch.bfloat16) < 0.75 * _seconds(torch.float32) else "float32"


def _seconds(dtype: torch.dtype) -> float:
    """The least time of five for one forward and backward of a typical convolution on the CPU."""
    conv = nn.Conv2d(64, 64, 3, padding=1, dtype=dtype)
    image = torch.rand(16, 64, 16, 16, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        conv(image).float().sum().backward()
        times.append(time.perf_counter() - start)
    return min(times)
