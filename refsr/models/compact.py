"""The compact variant: conditional VAEs with a learned prior, convolutional throughout, for any size and for 4x to 16x.

Everything happens on three grids: the base grid (HR / 4), twice that, and HR itself. The single-image network predicts
what bicubic enlargement misses. The reference network runs that same trunk on the LR image AND on the reduced
reference, so that both have features of one kind and attention can match them; what attention carries over is made
of the reference itself and of what bicubic is known to miss on it. docs/decisions/0002-compact-variant.md says why.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models import Output

BASE = 4  # HR pixels per cell of the base grid, along one side


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation: colours are to be kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Latent(nn.Module):
    """The latent variable of the conditional VAE: 4x4 cells of `size` Gaussian dimensions.

    The prior p(z given features) is learned; the posterior also sees HR. KL is that of two diagonal Gaussians.
    """

    CELLS = 4

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.prior = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * size, 1))
        self.see_hr = nn.Conv2d(3 * BASE**2, width, 3, padding=1)
        self.posterior = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * size, 1)
        )
        self.spread = nn.Conv2d(size, width, 1)

    def forward(
        self, x: torch.Tensor, hr: torch.Tensor | None = None, temperature: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (B, C, h, w) -> (what z adds to them, KL in nats per image, mean over the batch).

        With HR (B, 3, 4h, 4w) z is drawn from the posterior; without, from the prior at `temperature` (0: its mean).
        """
        mean, log_sd = self._gaussian(self.prior, x)
        kl = mean.new_zeros(())
        if hr is not None:
            prior_mean, prior_log_sd = mean, log_sd
            seen = F.relu(self.see_hr(F.pixel_unshuffle(hr, BASE) - 0.5))
            mean, log_sd = self._gaussian(self.posterior, torch.cat([x, seen], 1))
            kl = _kl(mean, log_sd, prior_mean, prior_log_sd)
            temperature = 1.0
        z = mean if temperature == 0 else mean + temperature * log_sd.exp() * torch.randn_like(mean)
        return F.interpolate(self.spread(z.to(x.dtype)), size=x.shape[-2:], mode="bilinear"), kl

    def _gaussian(self, head: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_sd = head(F.adaptive_avg_pool2d(x, self.CELLS)).float().chunk(2, 1)
        return mean, log_sd.clamp(-6, 3)


def _kl(mean: torch.Tensor, log_sd: torch.Tensor, prior_mean: torch.Tensor, prior_log_sd: torch.Tensor) -> torch.Tensor:
    """KL(posterior || prior) of diagonal Gaussians: summed over dimensions, mean over the batch."""
    variance_ratio = (2 * (log_sd - prior_log_sd)).exp()
    distance = ((mean - prior_mean) * (-prior_log_sd).exp()).square()
    return 0.5 * (variance_ratio + distance - 1 - 2 * (log_sd - prior_log_sd)).sum((1, 2, 3)).mean()


class Decoder(nn.Module):
    """Features on the base grid -> the residual over bicubic; `fine` may add to the features half way, at HR / 2.

    No convolution runs on the HR grid itself: it would cost as much as all others together.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width * 3 // 4
        self.to_half = nn.Conv2d(width, 4 * half, 3, padding=1)
        self.at_half = nn.Sequential(ResidualBlock(half), ResidualBlock(half))
        self.output = nn.Conv2d(half, 3 * 4, 3, padding=1)

    def forward(self, x: torch.Tensor, fine: Callable[[torch.Tensor], torch.Tensor] | None = None) -> torch.Tensor:
        x = F.pixel_shuffle(self.to_half(x), 2)
        if fine is not None:
            x = fine(x)
        return F.pixel_shuffle(self.output(self.at_half(x)), 2)


class CompactSisr(nn.Module):
    """The single-image conditional VAE. Images are RGB in [0, 1]."""

    def __init__(self, hr_size: int = 128, scale: int = 8, width: int = 64, blocks: int = 4, latent: int = 16) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "model": "sisr", "variant": "compact", "hr_size": hr_size, "scale": scale,
            "width": width, "blocks": blocks, "latent": latent,
        }  # fmt: skip
        self.scale = scale
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.latent = Latent(width, latent)
        self.decoder = Decoder(width)

    def encode(self, lr: torch.Tensor) -> torch.Tensor:
        """LR (B, 3, h, w) -> features on the base grid (B, C, h * scale / 4, w * scale / 4)."""
        features: torch.Tensor = self.body(self.head(_resize(lr, self.scale / BASE) - 0.5))
        return features

    def forward(self, lr: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor | None = None) -> Output:
        x = self.encode(lr)
        added, kl = self.latent(x, hr)
        return Output(self._add_to_bicubic(lr, self.decoder(x + added)), kl)

    def upscale(self, lr: torch.Tensor, ref: torch.Tensor | None = None, temperature: float = 0.0) -> torch.Tensor:
        """SR (B, 3, H, W), not clamped; `ref` is ignored, `temperature` > 0 draws a sample."""
        x = self.encode(lr)
        added, _ = self.latent(x, temperature=temperature)
        return self._add_to_bicubic(lr, self.decoder(x + added))

    def _add_to_bicubic(self, lr: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        return _resize(lr, self.scale) + residual.float()


def _resize(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Bicubic, antialiased where it reduces."""
    return F.interpolate(image.float(), scale_factor=factor, mode="bicubic", antialias=True)


class ReferenceAttention(nn.Module):
    """Carries what is seen in the reference to where it belongs in the LR image; all on the base grid."""

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.match = nn.Conv2d(width, size, 1)
        self.place = nn.Conv2d(18, size, 1)  # where a cell lies: faces are roughly aligned
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), 2.0))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Features of LR and of the reference (B, C, h, w), values (B, V, h, w) -> values where LR needs them."""
        place = self.place(_fourier_places(x))
        q, k = (self._split(self.match(t) + place) for t in (x, keys))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        v = self._split(values)
        logits = (q * (4 * self.sharpness.exp())) @ k.transpose(-1, -2)
        carried = torch.softmax(logits.float(), -1).to(v.dtype) @ v  # (B, heads, hw, V / heads)
        return carried.transpose(-1, -2).reshape(len(x), -1, *x.shape[-2:])

    def _split(self, t: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, heads, hw, C / heads)."""
        return t.reshape(len(t), self.heads, -1, t.shape[-2] * t.shape[-1]).transpose(-1, -2)


def _fourier_places(x: torch.Tensor) -> torch.Tensor:
    """The place of each cell in [-1, 1]^2 as (1, 18, h, w): itself, and sines and cosines at four frequencies."""
    rows, columns = (torch.linspace(-1, 1, side, device=x.device) for side in x.shape[-2:])
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # (2, h, w)
    waves = [f(grid * torch.pi * 2**k / 2) for k in range(4) for f in (torch.sin, torch.cos)]
    return torch.cat([grid, *waves])[None].to(x.dtype)


class CompactRefsr(CompactSisr):
    """The single-image network, and beside it what brings the reference in. Images are RGB in [0, 1]."""

    def __init__(
        self, hr_size: int = 128, scale: int = 8, width: int = 64, blocks: int = 4, latent: int = 16, heads: int = 4
    ) -> None:
        super().__init__(hr_size, scale, width, blocks, latent)
        self.config |= {"model": "refsr", "heads": heads}
        half = width * 3 // 4
        self.see = nn.Sequential(
            nn.Conv2d(6 * 4, half, 3, padding=1), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1), nn.ReLU()
        )
        self.see_coarse = nn.Conv2d(4 * half, width, 1)
        self.attention = ReferenceAttention(width, 48, heads)
        self.fuse = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), ResidualBlock(width))
        self.fuse_fine = nn.Conv2d(2 * half, half, 3, padding=1)
        self.gate = nn.Parameter(torch.full((1, width, 1, 1), 0.5))
        self.gate_fine = nn.Parameter(torch.full((1, half, 1, 1), 0.5))

    def forward(self, lr: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor | None = None) -> Output:
        sr, kl = self._restore(lr, ref, hr, 0.0)
        return Output(sr, kl)

    def upscale(self, lr: torch.Tensor, ref: torch.Tensor | None = None, temperature: float = 0.0) -> torch.Tensor:
        """SR (B, 3, H, W), not clamped; without `ref` the single-image path alone."""
        return self._restore(lr, ref, None, temperature)[0]

    def _restore(
        self, lr: torch.Tensor, ref: torch.Tensor | None, hr: torch.Tensor | None, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if ref is None:
            x, add_fine = self.encode(lr), None
        else:
            x, fine = self._carry_over(lr, ref)

            def add_fine(y: torch.Tensor) -> torch.Tensor:
                change: torch.Tensor = self.gate_fine * self.fuse_fine(torch.cat([y, fine], 1))
                return y + change

        added, kl = self.latent(x, hr, temperature)
        return self._add_to_bicubic(lr, self.decoder(x + added, add_fine)), kl

    def _carry_over(self, lr: torch.Tensor, ref: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(features on the base grid with the reference in them, fine features (B, C', H/2, W/2))."""
        reduced = _resize(ref, 1 / self.scale).clamp(0, 1)
        x = self.encode(lr)
        with torch.no_grad():  # the trunk learns from LR; the reference is only matched by what it has learned
            keys = self.encode(reduced)
        missed = ref - _resize(reduced, self.scale)
        seen = self.see(F.pixel_unshuffle(torch.cat([ref - 0.5, 4 * missed], 1), 2))  # (B, C', H/2, W/2)
        cells = F.pixel_unshuffle(seen, 2)
        coarse = self.see_coarse(cells)
        values = torch.cat([coarse, cells], 1)
        carried = self.attention(x, keys, values)
        coarse, fine = carried[:, : coarse.shape[1]], F.pixel_shuffle(carried[:, coarse.shape[1] :], 2)
        change: torch.Tensor = self.gate * self.fuse(torch.cat([x, coarse], 1))
        return x + change, fine
