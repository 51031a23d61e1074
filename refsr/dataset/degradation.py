"""HR -> LR, and LR -> the bicubic baseline. LR is never stored: it is made where it is used.

The reduction is a bicubic (Keys, a = -0.5) whose support is widened by the scale, so that it is antialiased, in the
manner of MATLAB's imresize; pixels of an 8-bit image stay 8-bit, as a small photo's would.
"""

import torch
import torch.nn.functional as F


def reduce(hr: torch.Tensor, scale: int) -> torch.Tensor:
    """(B, 3, H, W) in [0, 1] -> (B, 3, H/scale, W/scale) in [0, 1], rounded to 8 bits.

    H and W must be multiples of `scale`; ValueError if not.
    """
    height, width = hr.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"an image of {height}x{width} pixels cannot be reduced {scale} times")
    lr = F.interpolate(hr.float(), size=(height // scale, width // scale), mode="bicubic", antialias=True)
    return (lr.clamp(0, 1) * 255).round() / 255


def enlarge(lr: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The bicubic baseline: (B, 3, h, w) -> (B, 3, *size), not clamped."""
    return F.interpolate(lr.float(), size=size, mode="bicubic", align_corners=False, antialias=True)
