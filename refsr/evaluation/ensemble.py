"""The geometric self-ensemble of the paper (Timofte et al., CVPR 2016): the mean of eight views."""

from collections.abc import Callable

import torch

Upscale = Callable[[torch.Tensor, torch.Tensor | None], torch.Tensor]


def self_ensemble(upscale: Upscale, lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
    """The mean of `upscale` over 4 rotations x mirror: (B, 3, h, w) -> (B, 3, H, W).

    Each output is turned back. The references, (B, ..., 3, H, W) or None, are turned like LR.
    """
    outputs = []
    for turns in range(4):
        for mirror in (False, True):
            turned = None if ref is None else _turn(ref, turns, mirror)
            outputs.append(_turn_back(upscale(_turn(lr, turns, mirror), turned), turns, mirror))
    return torch.stack(outputs).mean(0)


def _turn(images: torch.Tensor, turns: int, mirror: bool) -> torch.Tensor:
    return torch.rot90(images.flip(-1) if mirror else images, turns, (-2, -1))


def _turn_back(images: torch.Tensor, turns: int, mirror: bool) -> torch.Tensor:
    images = torch.rot90(images, -turns, (-2, -1))
    return images.flip(-1) if mirror else images
