"""What measures an output: pixels, and networks. A network that was in the training loss is marked, never hidden."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from refsr.evaluation import metrics
from refsr.models.pretrained import (
    EfficientNetLite0Features,
    VggHedFeatures,
    feature_distance,
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.models.pretrained.lpips import Lpips

CHEAP = ("psnr", "ssim", "identity", "identity_ref", "lr_psnr")  # of every arm
MAIN = (*CHEAP, "perceptual", "efficientnet", "psnr_y", "ssim_y", "psnr_paper", "ssim_paper")  # of the main arms
# metric -> the network that measures it, as a checkpoint's `loss_networks` would name it
NETWORKS = {
    "identity": "dlib",
    "identity_ref": "dlib",
    "perceptual": "vgg16_hed",
    "efficientnet": "efficientnet_lite0",
    "lpips": "lpips",
}


class Truth(NamedTuple):
    """What is known of N images before any is restored. Features are lists, one tensor per layer."""

    hr: torch.Tensor  # (N, 3, H, H)
    lr: torch.Tensor  # (N, 3, h, h)
    identity: torch.Tensor  # (N, 128), of HR
    reference: torch.Tensor  # (N, 128), of the right reference
    vgg: list[torch.Tensor]  # of HR
    efficientnet: list[torch.Tensor]  # of HR

    def of(self, rows: torch.Tensor) -> "Truth":
        """Only these images."""
        vgg, efficientnet = ([layer[rows] for layer in layers] for layers in (self.vgg, self.efficientnet))
        return Truth(self.hr[rows], self.lr[rows], self.identity[rows], self.reference[rows], vgg, efficientnet)


class Scores(NamedTuple):
    """An arm's outputs, measured: metric -> (N,), and what later comparisons need of them."""

    values: dict[str, torch.Tensor]
    identity: torch.Tensor  # (N, 128)
    texture: torch.Tensor | None  # (N, 512): conv5_3 of VGG16-HED, averaged over places; None in cheap arms


class Judge:
    """All that measures, on one device. `lpips` names a file of LPIPS weights, if there is one."""

    def __init__(self, device: str, scale: int, lpips: Path | None = None) -> None:
        self.scale = scale
        self.dlib = identity_network().to(device)
        self.vgg = VggHedFeatures().to(device)
        self.efficientnet = EfficientNetLite0Features().to(device)
        self.lpips = Lpips(lpips).to(device) if lpips else None

    @torch.inference_mode()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, H) in [0, 1] -> (N, 128)."""
        return identity_embeddings(self.dlib, images)

    @torch.inference_mode()
    def texture(self, images: torch.Tensor) -> torch.Tensor:
        """(N, 3, H, H) in [0, 1] -> (N, 512), the features of the kernel distance."""
        return _texture(self.vgg(images))

    @torch.inference_mode()
    def look(self, hr: torch.Tensor, lr: torch.Tensor, reference: torch.Tensor) -> Truth:
        """What every arm of these images is compared with; `reference` is the embedding of the right reference."""
        return Truth(hr, lr, self.embed(hr), reference, self.vgg(hr), self.efficientnet(hr))

    @torch.inference_mode()
    def cheap(self, sr: torch.Tensor, truth: Truth) -> Scores:
        """CHEAP metrics."""
        identity = self.embed(sr)
        values = {
            "psnr": metrics.psnr(sr, truth.hr),
            "ssim": metrics.ssim(sr, truth.hr),
            "identity": identity_similarity(identity, truth.identity),
            "identity_ref": identity_similarity(identity, truth.reference),
            "lr_psnr": metrics.lr_psnr(sr, truth.lr, self.scale),
        }
        return Scores(values, identity, None)

    @torch.inference_mode()
    def full(self, sr: torch.Tensor, ensemble: torch.Tensor, truth: Truth) -> Scores:
        """MAIN metrics, and LPIPS where there are weights; `ensemble` is the self-ensemble's output."""
        scores = self.cheap(sr, truth)
        features = self.vgg(sr)
        values: dict[str, Any] = {
            "perceptual": feature_distance(features, truth.vgg),
            "efficientnet": feature_distance(self.efficientnet(sr), truth.efficientnet),
            "psnr_y": metrics.psnr_y(sr, truth.hr),
            "ssim_y": metrics.ssim_y(sr, truth.hr),
            "psnr_paper": metrics.psnr_y(ensemble, truth.hr),
            "ssim_paper": metrics.ssim_y(ensemble, truth.hr),
        }
        if self.lpips:
            values["lpips"] = self.lpips(sr, truth.hr)
        return Scores(scores.values | values, scores.identity, _texture(features))


def _texture(features: list[torch.Tensor]) -> torch.Tensor:
    return features[-1].mean((2, 3))
