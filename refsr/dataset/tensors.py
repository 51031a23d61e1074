"""Pixels (N, H, W, 3) uint8 RGB as images (N, 3, H, W) in [0, 1], and back."""

import numpy as np
import torch


def to_images(pixels: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """Pixels -> images on the device, float32; in memory they stay channels_last."""
    return as_images(torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device))


def as_images(pixels: torch.Tensor) -> torch.Tensor:
    """The same of pixels that are on the device already."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def to_8_bits(images: torch.Tensor) -> torch.Tensor:
    """Clamped and rounded to the 256 values that a saved file can hold, still in [0, 1]."""
    return (images.float().clamp(0, 1) * 255).round() / 255


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Images -> the pixels of a saved file."""
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
