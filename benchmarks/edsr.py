"""EDSR-baseline at 8x, the peer of benchmarks/peers.py: single images, no latent variable.

Source: B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017: 16 residual blocks of 64 features without normalisation on the LR grid, three pixel
shuffles that double the size, and no bicubic path. The mean is taken off the colours as there, but
the mean of [0, 1], since these are faces.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models import Output
from refsr.models.upscaling import hold_to_lr, require_no_temperature


class Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(F.relu(self.first(x)))
        return x + change


class EdsrBaseline(nn.Module):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, 8h, 8w).

    It has the interface of this project's networks, but sees no reference.
    """

    draws_samples = False
    learns_landmarks = False

    def __init__(
        self,
        hr_size: int = 128,
        scale: int = 8,
        features: int = 64,
        blocks: int = 16,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "model": "sisr", "variant": "edsr", "hr_size": hr_size, "scale": scale,
            "features": features, "blocks": blocks,
        }  # fmt: skip
        doublings = scale.bit_length() - 1
        self.head = nn.Conv2d(3, features, 3, padding=1)
        self.body = nn.Sequential(
            *(Block(features) for _ in range(blocks)), nn.Conv2d(features, features, 3, padding=1)
        )
        self.tail = nn.Sequential(
            *(
                layer
                for _ in range(doublings)
                for layer in (nn.Conv2d(features, 4 * features, 3, padding=1), nn.PixelShuffle(2))
            ),
            nn.Conv2d(features, 3, 3, padding=1),
        )

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        ref: torch.Tensor | None = None,
    ) -> Output:
        """One forward in training; there is nothing to diverge."""
        none = torch.zeros(len(lr), 0, device=lr.device)
        return Output(self.restore(lr), none.sum(0), none, none)

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
    ) -> torch.Tensor:
        """SR, not clamped; `ref` is ignored."""
        require_no_temperature(temperature, "edsr")
        return hold_to_lr(self.restore(lr), lr, fidelity)

    def restore(self, lr: torch.Tensor) -> torch.Tensor:
        """SR, not clamped."""
        x = self.head(lr - 0.5)
        sr: torch.Tensor = self.tail(x + self.body(x))
        return sr.float() + 0.5
