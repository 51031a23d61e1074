"""The networks, and `build`, the one place where a configuration becomes a network."""

from typing import Any, NamedTuple, Protocol

import torch
from torch import nn


class Output(NamedTuple):
    """What a network gives in training."""

    sr: torch.Tensor  # (B, 3, H, W), not clamped
    kl: torch.Tensor  # (), nats per image, mean over the batch


class SuperResolver(Protocol):
    """What every variant offers. Images are RGB in [0, 1]: lr (B, 3, h, w); hr, ref and sr (B, 3, H, W)."""

    config: dict[str, Any]  # JSON-able; `build(config)` gives a network of the same shape

    def __call__(self, lr: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor | None) -> Output:
        """One forward in training, with HR at hand for the posterior."""

    def upscale(self, lr: torch.Tensor, ref: torch.Tensor | None = None) -> torch.Tensor:
        """SR, not clamped; `ref` None means that there is no reference. A single-image model ignores `ref`."""


def build(config: dict[str, Any]) -> nn.Module:
    """The network a configuration describes: {"model": "sisr" or "refsr", "variant": ..., options...}.

    Raises ValueError for a model or variant that is not known.
    """
    options = {key: value for key, value in config.items() if key not in ("model", "variant")}
    kind = (config["model"], config["variant"])
    if kind == ("sisr", "compact"):
        from refsr.models.compact import CompactSisr

        return CompactSisr(**options)
    if kind == ("refsr", "compact"):
        from refsr.models.compact import CompactRefsr

        return CompactRefsr(**options)
    if kind == ("sisr", "release"):
        from refsr.models.release import ReleaseSisr

        return ReleaseSisr(**options)
    if kind == ("refsr", "release"):
        from refsr.models.release import ReleaseRefsr

        return ReleaseRefsr(**options)
    raise ValueError(f"no such network: {kind[0]!r}, variant {kind[1]!r}")
