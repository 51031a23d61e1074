"""What the paper's variants share: how a latent code is drawn, decoded and trained.

`release` and `figure` say with which layers.

Both networks are fed the bicubic enlargement x of LR. In place of random noise a learned function g
of x, of zero mean and unit variance, is scaled by the posterior: z = mu + sd * g(x). So neither
network is random, but for the options below that say so.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

import torch
from torch import nn

from refsr.models import Output
from refsr.models.blocks import LATENT, PRIOR_SD, REDUCTION, enlarge, kl_to_prior
from refsr.models.upscaling import as_set, hold_to_lr, require_no_temperature

DeployedSd = Literal["constant", "normal"]
Mode = Literal["gaussian", "lr", "reference"]


class ConditionalVae(nn.Module, ABC):
    """The base of the four networks.

    A variant sets the submodules and says how it encodes and merges.

    Raises ValueError where `hr_size` is not a multiple of 8, or of `scale`.
    """

    draws_samples = False  # as published: noise is a function of LR
    learns_landmarks = False

    trunk: nn.Module  # (B, 3, H, W) -> features (B, C, H/8, W/8)
    skip: nn.Module  # features -> (B, 64, H/8, W/8)
    latent: nn.Module  # features -> (B, 2048): mu and log sd, a log standard deviation
    generator: nn.Module  # (B, 3, H, W) -> (B, 1024)
    decoder: nn.Module  # (B, 1024) -> (B, 64, H/8, W/8)
    ubp: nn.Module  # -> (B, 32, H, W)
    output: nn.Module  # -> (B, 3, H, W)

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.hr_size, self.scale = int(config["hr_size"]), int(config["scale"])
        for name, divisor in (("8", REDUCTION), ("the scale", self.scale)):
            if self.hr_size < 1 or divisor < 1 or self.hr_size % divisor:
                raise ValueError(f"hr_size {self.hr_size} is not a multiple of {name} ({divisor})")

    @abstractmethod
    def encode(
        self,
        x: torch.Tensor,
        guide: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(skip, mu, log sd) of the enlarged LR and its guide: HR in SISR, else the reference."""

    @abstractmethod
    def merge(self, skip: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """The skip and the decoded code, (B, 64, H/8, W/8) each, made one."""

    def enlarge(self, lr: torch.Tensor) -> torch.Tensor:
        """(B, 3, h, w) -> (B, 3, H, H). Raises ValueError where h or w is not hr_size / scale."""
        side = self.hr_size // self.scale
        if lr.shape[-2:] != (side, side):
            raise ValueError(
                f"lr is {lr.shape[-2]}x{lr.shape[-1]} pixels; this network takes {side}x{side}",
            )
        return enlarge(lr, self.hr_size)

    def decode(self, x: torch.Tensor, skip: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """SR: the enlarged LR and what the code and the skip add to it."""
        residual: torch.Tensor = self.output(self.ubp(self.merge(skip, self.decoder(z))))
        return x + residual

    def reconstruct(self, x: torch.Tensor, guide: torch.Tensor) -> Output:
        """SR by the posterior given x and `guide`, and its divergence from the prior."""
        skip, mu, log_sd = self.encode(x, guide)
        sr = self.decode(x, skip, mu + log_sd.exp() * self.generator(x))
        return Output(sr, kl_to_prior(mu, log_sd), mu.float(), torch.zeros_like(mu.float()))


class SingleImageVae(ConditionalVae):
    """SISR-VAE. It is trained with q(z given LR, HR).

    Deployed, without HR, mu is 0 and sd no longer learned.

    The option `deployed_sd`: "constant" takes sd = 0.1, the prior's, which was surely meant.
    "normal" does what the released files do: their Gaussian filler says `value: 0.1`, which Caffe
    ignores, so sd is drawn from N(0, 1) anew at each call.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        _require("deployed_sd", config["deployed_sd"], get_args(DeployedSd))

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        ref: torch.Tensor | None = None,
    ) -> Output:
        """One forward in training; `ref` is ignored."""
        return self.reconstruct(self.enlarge(lr), hr)

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
    ) -> torch.Tensor:
        """SR without the posterior's encoder, (B, 3, h, w) -> (B, 3, H, H), not clamped.

        `ref` is ignored.
        """
        require_no_temperature(temperature, self.config["variant"])
        x = self.enlarge(lr)
        noise = self.generator(x)
        sd = torch.randn_like(noise) if self.config["deployed_sd"] == "normal" else PRIOR_SD
        return hold_to_lr(self.decode(x, self.skip(self.trunk(x)), sd * noise), lr, fidelity)


class ReferenceVae(ConditionalVae):
    """RefSR-VAE. The posterior q(z given LR, reference) is the same in training and deployed.

    The option `mode` says from where `upscale` takes the code. "reference": the reference, or LR
    where there is none. "lr": LR is its own reference. "gaussian": z is drawn from the prior N(0,
    0.1^2), with LR in the reference's place elsewhere. Training is the same in all three. Of
    several references the first is taken: the network has one place for it, and a mean of photos
    would be a picture of a kind it never saw.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        _require("mode", config["mode"], get_args(Mode))

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        ref: torch.Tensor | None = None,
    ) -> Output:
        """One forward in training; the posterior does not see `hr`."""
        x = self.enlarge(lr)
        return self.reconstruct(x, x if ref is None else as_set(ref)[:, 0])

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
        mode: Mode | None = None,
    ) -> torch.Tensor:
        """SR, (B, 3, h, w) and (B, 3, H, H) -> (B, 3, H, H), not clamped.

        `mode` overrides the network's own.
        """
        require_no_temperature(temperature, self.config["variant"])
        mode = mode or self.config["mode"]
        _require("mode", mode, get_args(Mode))
        x = self.enlarge(lr)
        guide = as_set(ref)[:, 0] if ref is not None and mode == "reference" else x
        if mode != "gaussian":
            return hold_to_lr(self.reconstruct(x, guide).sr, lr, fidelity)
        z = PRIOR_SD * torch.randn(len(x), LATENT, device=x.device)
        return hold_to_lr(self.decode(x, self.encode(x, guide)[0], z), lr, fidelity)


def _require(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is not one of {', '.join(known)}")
