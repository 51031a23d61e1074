"""Variant "figure": the networks as the paper's architecture figure draws them.

The released files do not follow it.

Two towers of their own weights, features added; the skip from LR's tower alone. The figure draws
RefSR; that SISR is the same with HR where the reference would be is an inference.
"""

from typing import Any

import torch
from torch import nn

from refsr.models.blocks import (
    LATENT,
    REDUCTION,
    UnitVariance,
    UpBackProjection,
    conv,
    linear,
)
from refsr.models.vae import (
    ConditionalVae,
    DeployedSd,
    Mode,
    ReferenceVae,
    SingleImageVae,
)


def tower() -> nn.Sequential:
    """(B, 3, H, W) -> (B, 256, H/8, W/8)."""
    return nn.Sequential(
        *(
            conv(3, 32),
            nn.ReLU(),
            conv(32, 64, stride=2),
            nn.ReLU(),
            conv(64, 64),
            nn.ReLU(),
        ),
        *(
            conv(64, 128, stride=2),
            nn.ReLU(),
            conv(128, 128),
            nn.ReLU(),
            conv(128, 256, stride=2),
        ),
    )


class _Figure(ConditionalVae):
    """What both networks of the figure share."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        side = self.hr_size // REDUCTION
        self.trunk = tower()  # of LR
        self.guide_trunk = tower()  # of the reference; of HR in SISR
        self.skip = nn.Sequential(conv(256, 64), nn.ReLU())
        self.latent = nn.Sequential(
            nn.Flatten(),
            linear(256 * side * side, 4096),
            nn.ReLU(),
            linear(4096, 2 * LATENT),
        )
        self.generator = nn.Sequential(
            nn.Flatten(),
            linear(3 * self.hr_size**2, LATENT),
            nn.ReLU(),
            linear(LATENT, LATENT),
            UnitVariance(),
        )
        self.decoder = nn.Sequential(
            *(linear(LATENT, 2048), nn.ReLU(), linear(2048, 16 * side * side)),
            *(nn.Unflatten(1, (16, side, side)), conv(16, 64)),
        )
        self.ubp = nn.Sequential(UpBackProjection(64), UpBackProjection(32), UpBackProjection(32))
        self.output = conv(32, 3)

    def encode(
        self,
        x: torch.Tensor,
        guide: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The posterior sees the sum of both towers' features, the skip those of LR."""
        features = self.trunk(x)
        mu, log_sd = self.latent(features + self.guide_trunk(guide)).chunk(2, 1)
        return self.skip(features), mu, log_sd

    def merge(self, skip: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return skip + latent


class FigureSisr(_Figure, SingleImageVae):
    """SISR-VAE with the figure's layers."""

    def __init__(
        self,
        hr_size: int = 128,
        scale: int = 8,
        deployed_sd: DeployedSd = "constant",
    ) -> None:
        options = {"hr_size": hr_size, "scale": scale, "deployed_sd": deployed_sd}
        super().__init__({"model": "sisr", "variant": "figure", **options})


class FigureRefsr(_Figure, ReferenceVae):
    """RefSR-VAE with the figure's layers."""

    def __init__(self, hr_size: int = 128, scale: int = 8, mode: Mode = "reference") -> None:
        super().__init__(
            {
                "model": "refsr",
                "variant": "figure",
                "hr_size": hr_size,
                "scale": scale,
                "mode": mode,
            }
        )
