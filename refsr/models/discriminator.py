"""The judge of the generative phase: which patches are of a true image, given the small one."""

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.upscaling import resized

SLOPE = 0.2  # of the leaky ReLU


class Discriminator(nn.Module):
    """Convolutions on an image and what bicubic misses of it (PatchGAN; Isola et al., CVPR 2017).

    `width` is the number of channels at half the size.
    """

    def __init__(self, scale: int, width: int = 32) -> None:
        super().__init__()
        self.scale = scale
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(6, width, 4, 2, 1),
                nn.Conv2d(width, 2 * width, 4, 2, 1),
                nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
                nn.Conv2d(4 * width, 1, 3, 1, 1),
            ]
        )

    def forward(
        self, images: torch.Tensor, lr: torch.Tensor, start: tuple[int, int] = (0, 0)
    ) -> torch.Tensor:
        """(B, 3, H, W) and (B, 3, h, w) -> (B, 1, H / 8, W / 8), higher where one seems true.

        It looks at the image from the row and column `start` on.
        """
        x = torch.cat([images - 0.5, 4 * (images - resized(lr, self.scale))], 1)
        x = x[..., start[0] :, start[1] :]
        *before, last = self.layers
        for layer in before:
            x = F.leaky_relu(layer(x), SLOPE)
        return last(x)  # type: ignore[no-any-return]
