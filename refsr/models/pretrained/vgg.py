"""Features of the VGG networks, whatever file their weights come from.

Source: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015.
"""

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class VggFeatures(nn.Module):
    """RGB (N, 3, H, W) in [0, 1] -> five feature maps, at 1/1 to 1/16.

    They are the last of each block, after its ReLU. `blocks` are the convolutions of each block,
    `mean_rgb` is what they expect to be taken from pixels in [0, 255], `pool` halves the size
    between two blocks. Frozen, in evaluation mode.
    """

    mean: torch.Tensor

    def __init__(
        self,
        blocks: Sequence[Sequence[nn.Conv2d]],
        mean_rgb: tuple[float, float, float],
        pool: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(conv for block in blocks for conv in block)
        self.counts = [len(block) for block in blocks]
        self.pool = pool
        self.register_buffer("mean", torch.tensor(mean_rgb)[None, :, None, None])
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [F.relu(x) for x in self._before_relu(images)]

    def deepest(self, images: torch.Tensor) -> torch.Tensor:
        """The last convolution before its ReLU, (N, 512, H/16, W/16)."""
        return self._before_relu(images)[-1]

    def _before_relu(self, images: torch.Tensor) -> list[torch.Tensor]:
        """The last convolution of each block."""
        x = images.contiguous(memory_format=torch.channels_last) * 255 - self.mean
        maps: list[torch.Tensor] = []
        layers = iter(self.convolutions)
        for count in self.counts:
            x = self.pool(F.relu(maps[-1])) if maps else x
            for index, conv in enumerate(islice(layers, count)):
                x = conv(F.relu(x) if index else x)
            maps.append(x)
        return maps


def rgb_convolution(kernel: np.ndarray, bias: np.ndarray) -> nn.Conv2d:
    """A 3x3 convolution from weights (out, in, 3, 3); of the first, BGR becomes RGB."""
    weight = torch.from_numpy(kernel)
    if weight.shape[1] == 3:
        weight = weight.flip(1)
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    layer.weight.data = weight.contiguous(memory_format=torch.channels_last)
    layer.bias = nn.Parameter(torch.from_numpy(bias))
    return layer
