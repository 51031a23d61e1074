"""EDSR-baseline at 8x, the peer of benchmarks/peers.py: single images, no latent variable.

Source: B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017: 16 residual blocks of 64 features without normalisation on the LR grid, three pixel
shuffles that double the size, and no bicubic path. The mean is taken off the colours as there, but
the mean of [0, 1], since these are faces.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peer import Peer
from torch import nn


class Block(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(F.relu(self.first(x)))
        return x + change


class EdsrBaseline(Peer):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, 8h, 8w).

    It sees no reference.
    """

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

    def restore(self, lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
        """SR, not clamped; `ref` is ignored."""
        x = self.head(lr - 0.5)
        sr: torch.Tensor = self.tail(x + self.body(x))
        return sr.float() + 0.5
