"""The loss of the authors' files: pixels, features of VGG19, and the divergence.

A feature function takes images (B, 3, H, W), RGB in [0, 1], to features (B, C, h, w). The released
one is VGG19's conv5_4 before its ReLU, with average pooling, frozen.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from refsr.models import Output

Features = Callable[[torch.Tensor], torch.Tensor]

FEATURE_WEIGHT = 10 / 256


def released_loss(output: Output, hr: torch.Tensor, features: Features) -> torch.Tensor:
    """sum|HR - SR| + 10 sum|f(SR) - f(HR)| / 256 + KL: () without a unit.

    Each term is summed over the batch, as released.
    """
    with torch.no_grad():
        expected = features(hr)
    pixels = F.l1_loss(output.sr, hr, reduction="sum")
    perceptual = F.l1_loss(features(output.sr), expected, reduction="sum")
    return pixels + FEATURE_WEIGHT * perceptual + len(hr) * (output.kl + output.unexplained)


def released_loss_in_means(output: Output, hr: torch.Tensor, features: Features) -> torch.Tensor:
    """`released_loss` over the number of HR values in the batch.

    It has the same size whatever the batch and the image. At 128x128 with VGG19 it is mean|HR - SR|
    + 0.02604 mean|f(SR) - f(HR)| + 2.03e-5 KL.
    """
    with torch.no_grad():
        expected = features(hr)
    pixels = F.l1_loss(output.sr, hr)
    perceptual = F.l1_loss(features(output.sr), expected)
    values = hr[0].numel()
    return (
        pixels
        + FEATURE_WEIGHT * expected[0].numel() / values * perceptual
        + (output.kl + output.unexplained) / values
    )
