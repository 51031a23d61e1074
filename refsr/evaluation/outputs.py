"""What a metric reads: the restored images of one condition, the truth, and features of both."""

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from refsr.evaluation.kid import texture
from refsr.models.pretrained import (
    EfficientNetLite0Features,
    VggHedFeatures,
    feature_distance,
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.models.pretrained.lpips import Lpips

Features = list[torch.Tensor]  # a tensor per layer

FEATURE_NETWORKS: dict[str, type[nn.Module]] = {  # by the names that checkpoints use
    "vgg16_hed": VggHedFeatures,
    "efficientnet_lite0": EfficientNetLite0Features,
}


class Networks:
    """The pretrained networks of the metrics, on one device.

    `lpips` is a file of LPIPS weights, if there is one.
    """

    def __init__(self, device: str, lpips: Path | None = None) -> None:
        self.dlib = identity_network().to(device)
        self._features = {name: network().to(device) for name, network in FEATURE_NETWORKS.items()}
        self._lpips = Lpips(lpips).to(device) if lpips else None

    def has(self, name: str) -> bool:
        """Whether a network is there: LPIPS alone may be missing. "" is no network."""
        return name != "lpips" or self._lpips is not None

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Identity: (N, 3, H, H) in [0, 1] -> (N, 128)."""
        return identity_embeddings(self.dlib, images)

    def features(self, name: str, images: torch.Tensor) -> Features:
        """The features of a network of FEATURE_NETWORKS: (N, 3, H, H) in [0, 1] -> per layer."""
        features: Features = self._features[name](images)
        return features

    def lpips(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        """LPIPS of two batches, (N,). Raises ValueError where there are no weights."""
        if self._lpips is None:
            raise ValueError("LPIPS has no weights: set evaluate.lpips")
        distance: torch.Tensor = self._lpips(sr, hr)
        return distance

    def texture(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, H) in [0, 1] -> (N, 512), the features of the kernel distance."""
        return texture(self.features("vgg16_hed", images))


class Truth(NamedTuple):
    """What is known of N images before any is restored."""

    hr: torch.Tensor  # (N, 3, H, H)
    lr: torch.Tensor  # (N, 3, h, h)
    identity: torch.Tensor  # (N, 128), of HR
    reference: torch.Tensor  # (N, 128), of the right reference
    features: dict[str, Features]  # of HR, by network

    def of(self, rows: torch.Tensor) -> "Truth":
        """Only these images."""
        features = {
            name: [layer[rows] for layer in layers] for name, layers in self.features.items()
        }
        return Truth(
            self.hr[rows],
            self.lr[rows],
            self.identity[rows],
            self.reference[rows],
            features,
        )


class Outputs:
    """The restored images of one condition, (N, 3, H, H) in [0, 1], and what metrics need of them.

    Features are computed when the first metric asks for them, and once. `ensemble` is the output
    of the self-ensemble, None in conditions that are measured by few metrics.
    """

    def __init__(
        self,
        sr: torch.Tensor,
        truth: Truth,
        networks: Networks,
        ensemble: torch.Tensor | None = None,
    ) -> None:
        self.sr, self.truth, self.networks = sr, truth, networks
        self._ensemble = ensemble
        self._features: dict[str, Features] = {}

    @property
    def hr(self) -> torch.Tensor:
        """The true images, of the shape of `sr`."""
        return self.truth.hr

    @property
    def lr(self) -> torch.Tensor:
        """The small images, (N, 3, h, h)."""
        return self.truth.lr

    @property
    def ensemble(self) -> torch.Tensor:
        """The output of the self-ensemble. Raises ValueError where there is none."""
        if self._ensemble is None:
            raise ValueError("the self-ensemble runs in main conditions only")
        return self._ensemble

    @cached_property
    def identity(self) -> torch.Tensor:
        """Embeddings of the output, (N, 128)."""
        return self.networks.embed(self.sr)

    def identity_similarity(self, other: torch.Tensor) -> torch.Tensor:
        """The cosine to other embeddings, (N, 128) -> (N,)."""
        return identity_similarity(self.identity, other)

    def features(self, network: str) -> Features:
        """Features of the output by a network of FEATURE_NETWORKS."""
        if network not in self._features:
            self._features[network] = self.networks.features(network, self.sr)
        return self._features[network]

    def feature_distance(self, network: str) -> torch.Tensor:
        """The distance of output and truth in the features of a network, (N,)."""
        return feature_distance(self.features(network), self.truth.features[network])
