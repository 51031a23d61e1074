"""The networks, and `build`, the one place where a configuration becomes a network."""

import importlib
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


# (model, variant) -> where it is; a module is imported only when one of its networks is asked for
NETWORKS = {
    ("sisr", "compact"): ("refsr.models.compact", "CompactSisr"),
    ("refsr", "compact"): ("refsr.models.compact", "CompactRefsr"),
    ("sisr", "release"): ("refsr.models.release", "ReleaseSisr"),
    ("refsr", "release"): ("refsr.models.release", "ReleaseRefsr"),
    ("sisr", "figure"): ("refsr.models.figure", "FigureSisr"),
    ("refsr", "figure"): ("refsr.models.figure", "FigureRefsr"),
}


def build(config: dict[str, Any]) -> nn.Module:
    """The network a configuration describes: {"model": "sisr" or "refsr", "variant": ..., options...}.

    Raises ValueError for a model or variant that is not known.
    """
    options = {key: value for key, value in config.items() if key not in ("model", "variant")}
    try:
        module, name = NETWORKS[config["model"], config["variant"]]
    except KeyError:
        known = ", ".join(f"{model} {variant}" for model, variant in NETWORKS)
        asked = f"{config.get('model')} {config.get('variant')}"
        raise ValueError(f"no such network: {asked}; known are: {known}") from None
    network: nn.Module = getattr(importlib.import_module(module), name)(**options)
    return network
