"""The networks, and `build`, the one place where a configuration becomes a network."""

import importlib
import inspect
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from refsr.errors import RefsrError
from refsr.parameter_types import check_option
from refsr.variants import VARIANTS


class Output(NamedTuple):
    """What a network gives in training.

    D is the number of latent dimensions, 0 where there is no latent variable.

    A network may look at the first B' images of the batch alone for its posterior.
    """

    sr: torch.Tensor  # (B, 3, H, W), not clamped
    kl_each: torch.Tensor  # (D,), nats per image in each dimension, mean over the batch
    posterior_mean: torch.Tensor  # (B', D)
    prior_mean: torch.Tensor  # (B', D)
    unexplained: torch.Tensor | float = (
        0.0  # () nats per image that HR has left once z is known, where the variant gives it
    )
    misplaced: torch.Tensor | float = 0.0  # () mean error of landmarks, in half sides of the image

    @property
    def kl(self) -> torch.Tensor:
        """The divergence of posterior from prior: () nats per image, mean over the batch."""
        return self.kl_each.sum()


class SuperResolver(Protocol):
    """What every variant offers. Images are RGB in [0, 1]: lr (B, 3, h, w).

    Hr, ref and sr (B, 3, H, W).

    `ref` None means that there is no reference, (B, R, 3, H, W) that there are R. A single-image
    model ignores `ref`.
    """

    config: dict[str, Any]  # JSON-able; `build(config)` gives a network of the same shape
    draws_samples: bool  # whether `upscale` takes a temperature above 0
    learns_landmarks: bool  # whether a forward in training takes faces and their landmarks

    def __call__(
        self, lr: torch.Tensor, hr: torch.Tensor, ref: torch.Tensor | None, *landmarks: torch.Tensor
    ) -> Output:
        """One forward in training, with HR at hand for the posterior.

        `landmarks`, where the network learns them: faces (N, 3, H, W) and their landmarks
        (N, 5, 2), see refsr.models.landmarks; NaN where unknown.
        """

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
    ) -> torch.Tensor:
        """SR, not clamped.

        `temperature` 0 draws nothing, 1 draws from the prior, anything between lies nearer to what
        0 gives; RefsrError where the variant draws no samples. `fidelity` in [0, 1] is the share of
        what the reduced SR misses of LR that is put back (see `refsr.models.upscaling.hold_to_lr`);
        0 is the network's own output.
        """


# (model, variant) -> module and class; a module is imported when one of its networks is built
NETWORKS = {
    (model, name): (variant.module, getattr(variant, model))
    for name, variant in VARIANTS.items()
    for model in ("sisr", "refsr")
}


def build(config: dict[str, Any]) -> nn.Module:
    """The network of a configuration: {"model": "sisr" or "refsr", "variant": ..., options...}.

    Raises ValueError for a model or variant that is not known, RefsrError for an option or a size
    it cannot have.
    """
    if not isinstance(config.get("model"), str) or not isinstance(config.get("variant"), str):
        raise ValueError("a configuration names a model and a variant")
    network = _network(config)
    options = {key: value for key, value in config.items() if key not in ("model", "variant")}
    known = inspect.signature(network).parameters
    title = f"{config['variant']} {config['model']}"
    for name in options:
        if name not in known:
            raise RefsrError(f"{title}: unknown option {name!r}; known are: {', '.join(known)}")
    try:
        for name, value in options.items():
            check_option(name, value)
        return network(**options)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise RefsrError(f"{title}: {error}") from error


def reference_config(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the RefSR that starts from this SISR: all that both can have."""
    config = config | {"model": "refsr"}
    known = inspect.signature(_network(config)).parameters
    return {key: value for key, value in config.items() if key in ("model", "variant", *known)}


def _network(config: dict[str, Any]) -> type[nn.Module]:
    kind = (config["model"], config["variant"])
    if kind not in NETWORKS:
        raise ValueError(
            f"no such network: {' '.join(kind)}; known are: {', '.join(map(' '.join, NETWORKS))}",
        )
    module, name = NETWORKS[kind]
    network: type[nn.Module] = getattr(importlib.import_module(module), name)
    return network
