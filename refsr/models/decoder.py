"""From features on the base grid to the residual over bicubic; part of the compact variant."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.latent import ResidualBlock

Fine = Callable[[torch.Tensor], torch.Tensor]


class Context(nn.Module):
    """x and what the whole image adds to it, by a code of 16 channels in 4x4 cells.

    Training adds noise to the code. The noise is worth some hundredths of a dB to what comes of it
    without (docs/decisions/0006-latent-variable.md).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.code = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 16, 1),
        )
        self.spread = nn.Conv2d(16, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code = self.code(x)
        if self.training:
            code = code + torch.randn_like(code)
        spread = F.interpolate(self.spread(code), size=x.shape[-2:], mode="bilinear")
        return x + spread.type_as(x)


class Decoder(nn.Module):
    """Features on the base grid -> the residual over bicubic.

    `fine` may add to the features half way, at HR / 2.

    No convolution runs on the HR grid itself: it would cost as much as all others together.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width * 3 // 4
        self.to_half = nn.Conv2d(width, 4 * half, 3, padding=1)
        self.at_half = nn.Sequential(ResidualBlock(half), ResidualBlock(half))
        self.output = nn.Conv2d(half, 3 * 4, 3, padding=1)

    def forward(
        self,
        x: torch.Tensor,
        fine: Fine | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The residual, and the features at HR / 2 that it is made of."""
        x = F.pixel_shuffle(self.to_half(x), 2)
        if fine is not None:
            x = fine(x)
        x = self.at_half(x)
        return F.pixel_shuffle(self.output(x), 2), x
