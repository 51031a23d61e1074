"""What the peers of benchmarks/peers.py share: the interface of this project's networks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from refsr.models import Output
from refsr.models.upscaling import hold_to_lr, require_no_temperature


class Peer(nn.Module, ABC):
    """A network without a latent variable; a subclass has `config` and `restore`."""

    draws_samples = False
    learns_landmarks = False
    config: dict[str, Any]

    @abstractmethod
    def restore(self, lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
        """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, scale h, scale w), not clamped."""

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        ref: torch.Tensor | None = None,
    ) -> Output:
        """One forward in training; there is nothing to diverge."""
        none = torch.zeros(len(lr), 0, device=lr.device)
        return Output(self.restore(lr, ref), none.sum(0), none, none)

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
    ) -> torch.Tensor:
        """SR, not clamped; see `refsr.models.SuperResolver`."""
        require_no_temperature(temperature, str(self.config["variant"]))
        return hold_to_lr(self.restore(lr, ref), lr, fidelity)
