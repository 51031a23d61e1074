"""How far apart two images are in the features of a network."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def feature_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> torch.Tensor:
    """(N,) in [0, 4]: squared differences of unit features, mean over places, then layers.

    `a` and `b` are the feature maps of N images each, (N, C, h, w) per layer. As in LPIPS (Zhang et
    al., CVPR 2018) every place is normalised over its channels; other than in LPIPS no weights are
    learned.
    """
    layers = [(_unit(p) - _unit(q)).square().sum(1).mean((1, 2)) for p, q in zip(a, b, strict=True)]
    return torch.stack(layers).mean(0)


def _unit(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features.float(), dim=1, eps=1e-6)
