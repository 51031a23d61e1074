"""What training minimises, for every variant: built from `train_*.loss` of the parameters."""

from pathlib import Path
from typing import cast

import torch
from torch import nn

from refsr.config import Loss
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

Perceptual = EfficientNetLite0Features | VggHedFeatures | Vgg19Features
NAMES = {"efficientnet": "efficientnet_lite0", "hed": "vgg16_hed", "vgg19": "vgg19"}  # as checkpoints tell them
ACTIVE = 0.01  # a unit is active where its posterior mean varies by more than this (Burda et al., ICLR 2016)


class Objective(nn.Module):
    """The loss and its parts. `networks` names the pretrained networks that take part, as every checkpoint tells.

    `steps` is the length of the training, of which the KL warm-up is a share. Raises RefsrError where weights are
    missing.
    """

    def __init__(self, loss: Loss, steps: int) -> None:
        super().__init__()
        self.loss, self.steps = loss, steps
        self.features = perceptual_network(loss) if loss.kind != "default" or loss.perceptual_weight else None
        self.identity = identity_network() if loss.identity_weight else None
        used = {NAMES[loss.perceptual]: self.features, "dlib": self.identity}
        self.networks = [name for name, network in used.items() if network is not None]

    def forward(self, output: Output, lr: torch.Tensor, hr: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        """() each: `loss`, and what is told of it (`l1`, `kl` in nats per image, `active_units`, other terms)."""
        told = {"l1": (output.sr - hr).abs().mean(), "kl": output.kl, "active_units": active_units(output)}
        if self.loss.kind == "default":
            terms = self._terms(output, lr, hr)
            nats = self._kl(output) + output.unexplained
            loss = told["l1"] + self._kl_weight(step) * nats + sum(weight * term for weight, term in terms.values())
            return {"loss": loss} | told | {name: term for name, (_, term) in terms.items()}
        released = released_loss if self.loss.kind == "released" else released_loss_in_means
        return {"loss": released(output, hr, cast(Perceptual, self.features).deepest)} | told

    def _terms(self, output: Output, lr: torch.Tensor, hr: torch.Tensor) -> dict[str, tuple[float, torch.Tensor]]:
        """The terms that have a weight: name -> (weight, value)."""
        terms = {}
        if self.features is not None:
            with torch.no_grad():
                wanted = self.features(hr)
            distance = feature_distance(self.features(output.sr), wanted).mean()
            terms["perceptual"] = (self.loss.perceptual_weight, distance)
        if self.identity is not None:
            terms["identity"] = (self.loss.identity_weight, identity_distance(self.identity, output.sr, hr))
        if self.loss.consistency_weight:
            missed = (lr - reduced(output.sr, (lr.shape[-2], lr.shape[-1]))).abs().mean()
            terms["consistency"] = (self.loss.consistency_weight, missed)
        return terms

    def _kl(self, output: Output) -> torch.Tensor:
        """KL with its free bits (Kingma et al., NeurIPS 2016): below them a dimension has no gradient."""
        return output.kl_each.clamp(min=self.loss.free_bits).sum()

    def _kl_weight(self, step: int) -> float:
        return self.loss.kl_weight * min(1.0, (step + 1) / max(1.0, self.loss.kl_warmup * self.steps))


def perceptual_network(loss: Loss) -> Perceptual:
    """The network whose features are compared."""
    if loss.perceptual == "vgg19":
        return Vgg19Features(Path(loss.vgg19_weights))
    return EfficientNetLite0Features() if loss.perceptual == "efficientnet" else VggHedFeatures()


def identity_distance(network: nn.Module, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """1 - cosine of the embeddings, mean over the batch; in float32, since the cosines lie close together."""
    with torch.autocast(sr.device.type, enabled=False):
        with torch.no_grad():
            wanted = identity_embeddings(network, hr)
        return 1 - identity_similarity(identity_embeddings(network, sr.float()), wanted).mean()


def active_units(output: Output) -> torch.Tensor:
    """How many latent dimensions are in use: those whose posterior mean varies over this batch."""
    means = output.posterior_mean.detach()
    return ((means - means.mean(0)).square().mean(0) > ACTIVE).sum().float()
