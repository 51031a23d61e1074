"""The layers of the paper's networks: Z.-S. Liu, W.-C. Siu, Y.-L.

Chan, "Reference Based Face Super-Resolution", IEEE Access 7, 2019, doi 10.1109/ACCESS.2019.2934078,
and the Caffe definitions its authors released.

Weights start as the released files have them: convolutions Gaussian with variance 2 / (k * k *
out), fully connected layers Gaussian with deviation 0.01, biases 0, PReLU one slope of 0.25 for all
channels.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

REDUCTION = 8  # of the encoders: three strides of 2, undone by three up-and-back-projection blocks
LATENT = 1024
PRIOR_SD = 0.1


def enlarge(lr: torch.Tensor, size: int) -> torch.Tensor:
    """Bicubic enlargement, the input of the networks: (B, 3, h, w) -> (B, 3, size, size).

    Not clamped.
    """
    return F.interpolate(
        lr.float(),
        size=(size, size),
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    std: float | None = None,
) -> nn.Conv2d:
    """A convolution that keeps H and W, or halves them at stride 2.

    `std` is for what strays from the rule.
    """
    layer = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2)
    _start(layer, std or _conv_std(kernel, outputs))
    return layer


def deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles H and W."""
    layer = nn.ConvTranspose2d(inputs, outputs, 6, 2, 2)
    _start(layer, _conv_std(6, outputs))
    return layer


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer."""
    layer = nn.Linear(inputs, outputs)
    _start(layer, 0.01)
    return layer


def _conv_std(kernel: int, outputs: int) -> float:
    return math.sqrt(2 / (kernel * kernel * outputs))


def _start(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class UnitVariance(nn.Module):
    """(B, D) -> (B, D) with zero mean and unit variance over the D values (Caffe's MVN).

    The epsilon stands under the root, squared, so that a sample of equal values gives zeros and a
    finite gradient.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x.float() - x.float().mean(1, keepdim=True)
        return centred * (centred.square().mean(1, keepdim=True) + 1e-18).rsqrt()


class UpBackProjection(nn.Module):
    """The UBP block: (B, C, H, W) -> (B, 32, 2H, 2W).

    What an enlargement loses when it is reduced again is enlarged in its turn and added to it.
    """

    def __init__(self, inputs: int, channels: int = 32) -> None:
        super().__init__()
        self.up = nn.Sequential(deconv(inputs, channels), nn.PReLU())
        self.down = nn.Sequential(conv(channels, channels, 6, 2), nn.PReLU())
        self.project = conv(inputs, channels, 1)
        self.up_error = nn.Sequential(deconv(channels, channels), nn.PReLU())
        self.refine = conv(channels, channels, 1)
        self.activation = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        enlarged = self.up(x)
        error = self.project(x) - self.down(enlarged)
        y: torch.Tensor = self.activation(self.refine(enlarged) + self.up_error(error))
        return y


def kl_to_prior(mu: torch.Tensor, log_sd: torch.Tensor) -> torch.Tensor:
    """KL(N(mu, sd^2) || N(0, 0.1^2)): (B, D), (B, D) -> (D,) nats per image.

    In each dimension, mean over the batch. For each of the D values: 50 mu^2 + 50 sd^2 - ln(10 sd)
    - 0.5.
    """
    mu, log_sd = mu.float(), log_sd.float()
    precision = 1 / (2 * PRIOR_SD**2)
    each = (
        precision * mu.square()
        + precision * (2 * log_sd).exp()
        - (log_sd - math.log(PRIOR_SD))
        - 0.5
    )
    return each.mean(0)
