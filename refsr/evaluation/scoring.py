"""From restored images to numbers: every metric of `refsr.evaluation.metrics`, asked in turn."""

from pathlib import Path
from typing import NamedTuple

import torch

from refsr.evaluation.kid import texture
from refsr.evaluation.metrics import METRICS
from refsr.evaluation.outputs import FEATURE_NETWORKS, Networks, Outputs, Truth


class Scores(NamedTuple):
    """The outputs of a condition, measured, and what later comparisons need of them."""

    values: dict[str, torch.Tensor]  # metric -> (N,)
    identity: torch.Tensor  # (N, 128)
    texture: torch.Tensor | None  # (N, 512), None outside the main conditions


class Scorer:
    """Measures outputs on one device. `lpips` is a file of LPIPS weights, if there is one."""

    def __init__(self, device: str, lpips: Path | None = None) -> None:
        self.networks = Networks(device, lpips)

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, H) in [0, 1] -> (N, 128)."""
        return self.networks.embed(images)

    @torch.inference_mode()
    def texture(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, H) in [0, 1] -> (N, 512), the features of the kernel distance."""
        return self.networks.texture(images)

    @torch.inference_mode()
    def truth(self, hr: torch.Tensor, lr: torch.Tensor, reference: torch.Tensor) -> Truth:
        """What every condition of these images is compared with.

        `reference` (N, 128) are the embeddings of the right references.
        """
        features = {name: self.networks.features(name, hr) for name in FEATURE_NETWORKS}
        return Truth(hr, lr, self.embed(hr), reference, features)

    @torch.inference_mode()
    def score(self, sr: torch.Tensor, truth: Truth, ensemble: torch.Tensor | None = None) -> Scores:
        """All metrics where `ensemble`, the output of the self-ensemble, is given.

        Without it those that are of every condition.
        """
        outputs = Outputs(sr, truth, self.networks, ensemble)
        main = ensemble is not None
        values = {
            name: metric.measure(outputs)
            for name, metric in METRICS.items()
            if (main or metric.every_condition) and self.networks.has(metric.network)
        }
        features = texture(outputs.features("vgg16_hed")) if main else None
        return Scores(values, outputs.identity, features)
