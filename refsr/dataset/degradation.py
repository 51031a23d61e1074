"""HR -> LR, and LR -> the bicubic baseline. LR is never stored, but computed where it is used.

The reduction is a bicubic (Keys, a = -0.5) whose support is widened by the scale, which antialiases
it as MATLAB's imresize does. LR is rounded to 8 bits, as a small photo is.
"""

import torch
import torch.nn.functional as F

from refsr.dataset.tensors import to_8_bits


def reduce(hr: torch.Tensor, scale: int) -> torch.Tensor:
    """Reduce HR (B, 3, H, W) in [0, 1] to LR (B, 3, H/scale, W/scale) in [0, 1], in 8-bit steps.

    Raises:
        ValueError: H or W is not a multiple of `scale`.
    """
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"an image of {height}x{width} pixels cannot be reduced {scale} times")
    size = height // scale, width // scale
    lr = F.interpolate(hr.float(), size=size, mode="bicubic", antialias=True)
    return to_8_bits(lr)


def enlarge(lr: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The bicubic baseline: (B, 3, h, w) -> (B, 3, *size), not clamped."""
    return F.interpolate(
        lr.float(),
        size=size,
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
