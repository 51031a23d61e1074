"""What training minimises, for every variant: built from `train_*.loss` of the parameters.

The terms of the default loss stand in `refsr.loss_terms`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import nn

from refsr.config import Loss
from refsr.loss_terms import TERMS
from refsr.models import Output
from refsr.models.losses import released_loss, released_loss_in_means
from refsr.models.pretrained import (
    EfficientNetLite0Features,
    Vgg19Features,
    VggHedFeatures,
    feature_distance,
    identity_embeddings,
    identity_network,
    identity_similarity,
)
from refsr.models.upscaling import reduced

Embed = Callable[[torch.Tensor], torch.Tensor]  # (N, 3, H, W) -> unit (N, D)
Perceptual = EfficientNetLite0Features | VggHedFeatures | Vgg19Features
NAMES = {  # in checkpoints
    "efficientnet": "efficientnet_lite0",
    "hed": "vgg16_hed",
    "vgg19": "vgg19",
}
ACTIVE = 0.01  # variance of an active unit's posterior mean (Burda et al., ICLR 2016)


class Objective(nn.Module):
    """The loss and its parts.

    `networks` names the networks that take part; every checkpoint holds these names. `steps` is the
    length of the training, of which the KL warm-up is a share. `embedder` is needed where
    `loss.trains_embedder`. Raises RefsrError where weights are missing.
    """

    def __init__(self, loss: Loss, steps: int, embedder: nn.Module | None = None) -> None:
        super().__init__()
        self.loss, self.steps = loss, steps
        self.weights = {name: getattr(loss, f"{name}_weight") for name in TERMS}
        compares = loss.kind != "default" or self.weights["perceptual"]
        self.features = perceptual_network(loss) if compares else None
        if loss.trains_embedder and embedder is None:
            raise ValueError("this loss needs an embedder")
        self.embedder = embedder if loss.trains_embedder else None
        by_dlib = self.weights["identity"] and not loss.trains_embedder
        self.dlib = identity_network() if by_dlib else None
        used = {
            NAMES[loss.perceptual]: self.features, "dlib": self.dlib, "embedder": self.embedder,
        }  # fmt: skip
        self.networks = [name for name, network in used.items() if network is not None]

    def forward(
        self,
        output: Output,
        lr: torch.Tensor,
        hr: torch.Tensor,
        step: int | torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """`loss` and its parts, () each.

        The parts are `l1`, `kl` in nats per image, `active_units`, `landmarks` where the network
        learns them (mean error, in half sides of the image), and the terms with a weight.
        """
        parts = {
            "l1": (output.sr - hr).abs().mean(),
            "kl": output.kl,
            "active_units": active_units(output),
        }
        if isinstance(output.misplaced, torch.Tensor):
            parts["landmarks"] = output.misplaced
        if self.loss.kind != "default":
            return {"loss": self._released(output, hr) + output.misplaced} | parts
        terms = self._terms(Images(self, output.sr, lr, hr))
        nats = self._kl(output) + output.unexplained
        weighted = sum(self.weights[name] * term for name, term in terms.items())
        loss = parts["l1"] + self._kl_weight(step) * nats + weighted + output.misplaced
        return {"loss": loss} | parts | terms

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W) -> their unit embeddings for the identity term (N, D)."""
        if self.embedder is not None:
            embeddings: torch.Tensor = self.embedder(images)
            return embeddings
        return identity_embeddings(cast(nn.Module, self.dlib), images)

    def _terms(self, images: "Images") -> dict[str, torch.Tensor]:
        """The terms that have a weight."""
        return {name: term(images) for name, term in TERMS.items() if self.weights[name]}

    def _released(self, output: Output, hr: torch.Tensor) -> torch.Tensor:
        """The loss of the authors' files, in sums or in means."""
        features = cast(Perceptual, self.features).deepest
        if self.loss.kind == "released":
            return released_loss(output, hr, features)
        return released_loss_in_means(output, hr, features)

    def _kl(self, output: Output) -> torch.Tensor:
        """KL with its free bits (Kingma et al., NeurIPS 2016): no gradient below them."""
        return output.kl_each.clamp(min=self.loss.free_bits).sum()

    def _kl_weight(self, step: int | torch.Tensor) -> float | torch.Tensor:
        warm = (step + 1) / max(1.0, self.loss.kl_warmup * self.steps)
        if isinstance(warm, torch.Tensor):
            return self.loss.kl_weight * warm.clamp(max=1.0)
        return self.loss.kl_weight * min(1.0, warm)


class Images(NamedTuple):
    """The images of a batch, with what terms need of them; see `refsr.loss_terms.Restored`."""

    objective: Objective
    sr: torch.Tensor
    lr: torch.Tensor
    hr: torch.Tensor

    def feature_distance(self) -> torch.Tensor:
        """The mean distance of SR and HR in the features of `loss.perceptual`: ()."""
        network = cast(Perceptual, self.objective.features)
        with torch.no_grad():
            expected = network(self.hr)
        return feature_distance(network(self.sr), expected).mean()

    def identity_distance(self) -> torch.Tensor:
        """1 - cosine of the embeddings: ()."""
        return identity_distance(self.objective.embed, self.sr, self.hr)

    def reduced(self) -> torch.Tensor:
        """SR at the size of LR: (B, 3, h, w)."""
        return reduced(self.sr, (self.lr.shape[-2], self.lr.shape[-1]))


def perceptual_network(loss: Loss) -> Perceptual:
    """The network whose features are compared."""
    if loss.perceptual == "vgg19":
        return Vgg19Features(Path(loss.vgg19_weights))
    return EfficientNetLite0Features() if loss.perceptual == "efficientnet" else VggHedFeatures()


def identity_distance(embed: Embed, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the embeddings, mean over the batch: ().

    In float32, since the cosines lie close together.
    """
    with torch.autocast(sr.device.type, enabled=False):
        with torch.no_grad():
            expected = embed(hr)
        embeddings = embed(sr.float())
        return 1 - identity_similarity(embeddings, expected).mean()


def active_units(output: Output) -> torch.Tensor:
    """How many latent dimensions are in use: those whose posterior mean varies over this batch."""
    means = output.posterior_mean.detach()
    return ((means - means.mean(0)).square().mean(0) > ACTIVE).sum().float()
