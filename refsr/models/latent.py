"""The latent variable of the compact variant, and its prior."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

BASE = 4  # HR pixels per cell of the base grid, along one side
CELLS = 4  # the latent variable has this many cells along each side, whatever the size of the image

Prior = Literal["learned", "standard", "none"]


class Draw(NamedTuple):
    """A latent variable as it was drawn. D is the number of its dimensions, those of all cells together."""

    added: torch.Tensor  # (B, C, h, w), what it adds to the features
    kl_each: torch.Tensor  # (D,), nats per image in each dimension, mean over the batch
    posterior_mean: torch.Tensor  # (B, D); the prior's where HR was not seen
    prior_mean: torch.Tensor  # (B, D)


class Latent(nn.Module):
    """The latent variable of the conditional VAE: 4x4 cells of `size` Gaussian dimensions; the posterior also sees HR.

    The prior is "learned", p(z given features), or "standard", N(0, 1) whatever the image.
    """

    def __init__(self, width: int, size: int, prior: Prior = "learned") -> None:
        super().__init__()
        self.size = size
        self.prior = _head(width, width, size) if prior == "learned" else None
        self.see_hr = nn.Conv2d(3 * BASE**2, width, 3, padding=1)
        self.posterior = _head(2 * width, width, size)
        self.spread = nn.Conv2d(size, width, 1)

    def forward(self, x: torch.Tensor, hr: torch.Tensor | None = None, temperature: float = 0.0) -> Draw:
        """Draw z for features (B, C, h, w): with HR (B, 3, 4h, 4w) from the posterior, without from the prior.

        From the prior its standard deviation is taken `temperature` times; at 0 its mean is decoded.
        """
        prior_mean, prior_log_sd = self._prior(x)
        mean, log_sd, kl_each = prior_mean, prior_log_sd, prior_mean[0].flatten() * 0
        if hr is not None:
            seen = F.relu(self.see_hr(F.pixel_unshuffle(hr, BASE) - 0.5))
            mean, log_sd = _gaussian(self.posterior, torch.cat([x, seen], 1))
            kl_each = kl_of_gaussians(mean, log_sd, prior_mean, prior_log_sd)
            temperature = 1.0
        z = mean if temperature == 0 else mean + temperature * log_sd.exp() * torch.randn_like(mean)
        added = F.interpolate(self.spread(z.to(x.dtype)), size=x.shape[-2:], mode="bilinear")
        return Draw(added, kl_each, mean.flatten(1), prior_mean.flatten(1))

    def _prior(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self.prior is not None:
            return _gaussian(self.prior, x)
        zeros = torch.zeros(len(x), self.size, CELLS, CELLS, device=x.device)
        return zeros, zeros


def no_latent(x: torch.Tensor) -> Draw:
    """The draw of a network without a latent variable: nothing is added, D is 0."""
    none = x.new_zeros(len(x), 0, dtype=torch.float32)
    return Draw(torch.zeros_like(x), none.sum(0), none, none)


def kl_of_gaussians(
    mean: torch.Tensor, log_sd: torch.Tensor, prior_mean: torch.Tensor, prior_log_sd: torch.Tensor
) -> torch.Tensor:
    """KL(posterior || prior) of diagonal Gaussians, (B, ...) each -> (D,) nats, mean over the batch."""
    variance_ratio = (2 * (log_sd - prior_log_sd)).exp()
    distance = ((mean - prior_mean) * (-prior_log_sd).exp()).square()
    return 0.5 * (variance_ratio + distance - 1 - 2 * (log_sd - prior_log_sd)).mean(0).flatten()


def _head(inputs: int, width: int, size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * size, 1))


def _gaussian(head: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log standard deviation, (B, size, 4, 4) each."""
    mean, log_sd = head(F.adaptive_avg_pool2d(x, CELLS)).float().chunk(2, 1)
    return mean, log_sd.clamp(-6, 3)
