"""Variant "release": the networks of the authors' Caffe files (Holmes-Alan/RefSR on GitHub).

At 128x128 pixels SISR-VAE has 199,922,832 parameters in training and 50,311,824 deployed, RefSR-VAE
198,667,408. Submodules bear the same names in both, so that RefSR starts from a trained SISR: all
but three layers fit.

A `std` given here is the files' own, where they stray from the rule of `blocks` that all other
layers follow.
"""

from typing import Any

import torch
import torch.nn.functional as F
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


def trunk() -> nn.Sequential:
    """(B, 3, H, W) -> (B, 512, H/8, W/8), before the last ReLU.

    9,330,240 parameters, learned, not VGG's.
    """
    return nn.Sequential(
        *(conv(3, 64), nn.ReLU(), conv(64, 64), nn.ReLU()),
        *(conv(64, 128, 6, 2), nn.ReLU(), conv(128, 128), nn.ReLU()),
        *(conv(128, 256, 6, 2), nn.ReLU(), conv(256, 256), nn.ReLU()),
        *(conv(256, 512, 6, 2, std=0.0147), nn.ReLU(), conv(512, 512, std=0.0295)),
    )


def skip_head() -> nn.Sequential:
    """(B, 512, h, w) -> (B, 64, h, w): what the features say of the image without the code."""
    return nn.Sequential(conv(512, 128, 1), nn.ReLU(), conv(128, 64))


def latent_head(inputs: int, side: int) -> nn.Sequential:
    """(B, inputs, side, side) -> (B, 2048): mu and log sd."""
    return nn.Sequential(
        *(
            conv(inputs, 256, std=0.0208),
            nn.ReLU(),
            conv(256, 128, std=0.0208),
            nn.ReLU(),
        ),
        *(conv(128, 128, std=0.0295), nn.ReLU(), nn.Flatten()),
        *(
            linear(128 * side * side, 4096),
            nn.ReLU(),
            linear(4096, 2048),
            nn.ReLU(),
            linear(2048, 2 * LATENT),
        ),
    )


def sampling_generator(hr_size: int) -> nn.Sequential:
    """(B, 3, H, W) -> (B, 1024) of zero mean and unit variance, in the place of noise."""
    inputs = 3 * hr_size * hr_size
    return nn.Sequential(
        nn.Flatten(),
        linear(inputs, 512),
        nn.ReLU(),
        linear(512, LATENT),
        nn.ReLU(),
        UnitVariance(),
    )


def latent_decoder(side: int) -> nn.Sequential:
    """(B, 1024) -> (B, 64, side, side)."""
    return nn.Sequential(
        *(linear(LATENT, 2048), nn.ReLU(), linear(2048, 2048), nn.ReLU()),
        *(
            linear(2048, 16 * side * side),
            nn.ReLU(),
            nn.Unflatten(1, (16, side, side)),
            conv(16, 64),
        ),
    )


class _Release(ConditionalVae):
    """The layers of both networks; they differ in the width of two inputs."""

    def __init__(self, config: dict[str, Any], encoded: int, merged: int) -> None:
        super().__init__(config)
        side = self.hr_size // REDUCTION
        self.trunk = trunk()
        self.skip = skip_head()
        self.latent = latent_head(encoded, side)
        self.generator = sampling_generator(self.hr_size)
        self.decoder = latent_decoder(side)
        self.activation = nn.PReLU()
        self.ubp = nn.Sequential(
            UpBackProjection(merged),
            UpBackProjection(32),
            UpBackProjection(32),
        )
        self.output = conv(32, 3)


class ReleaseSisr(_Release, SingleImageVae):
    """SISR-VAE: LR and HR go through one trunk, on the batch axis.

    The posterior sees both, the skip only LR.
    """

    def __init__(
        self,
        hr_size: int = 128,
        scale: int = 8,
        deployed_sd: DeployedSd = "constant",
    ) -> None:
        options = {"hr_size": hr_size, "scale": scale, "deployed_sd": deployed_sd}
        super().__init__(
            {"model": "sisr", "variant": "release", **options},
            encoded=2 * 512,
            merged=2 * 64,
        )

    def encode(
        self,
        x: torch.Tensor,
        guide: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The skip sees LR's features before their ReLU, the posterior LR's and HR's after it."""
        of_lr, of_hr = self.trunk(torch.cat([x, guide])).chunk(2)
        mu, log_sd = self.latent(F.relu(torch.cat([of_lr, of_hr], 1))).chunk(2, 1)
        return self.skip(of_lr), mu, log_sd

    def merge(self, skip: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Side by side: (B, 128, H/8, W/8)."""
        merged: torch.Tensor = self.activation(torch.cat([skip, latent], 1))
        return merged


class ReleaseRefsr(_Release, ReferenceVae):
    """RefSR-VAE. The trunk reads the sum of LR and reference, posterior and skip its features."""

    def __init__(self, hr_size: int = 128, scale: int = 8, mode: Mode = "reference") -> None:
        options = {"hr_size": hr_size, "scale": scale, "mode": mode}
        super().__init__(
            {"model": "refsr", "variant": "release", **options},
            encoded=512,
            merged=64,
        )

    def encode(
        self,
        x: torch.Tensor,
        guide: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Skip and posterior both see the features of the sum, after their ReLU."""
        features = F.relu(self.trunk(x + guide))
        mu, log_sd = self.latent(features).chunk(2, 1)
        return self.skip(features), mu, log_sd

    def merge(self, skip: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """The sum of the skip and the activated code."""
        merged: torch.Tensor = skip + self.activation(latent)
        return merged
