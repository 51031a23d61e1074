"""References sampled at learned offsets, each place weighed by how much it is to be trusted.

A reference that is laid onto a face by its landmarks still lies some pixels off: another
expression, another turn of the head. A small network compares the features of both on the base grid
and says for each cell where to look in the reference, and with what confidence: deformable
alignment by one offset a place, as in TDAN (Tian et al., CVPR 2020) and MASA-SR (Lu et al., CVPR
2021). docs/decisions/0017-learned-offsets.md has what it is worth.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

FARTHEST = 0.25  # an offset along one axis, in half sides of the image
TRUST = 1.0  # logit of the confidence before any training


class OffsetSampling(nn.Module):
    """Brings what the references show to where the face has it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.compare = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
        )
        self.point = nn.Conv2d(width, 3, 3, padding=1)  # offset x, offset y, logit of confidence
        nn.init.normal_(self.point.weight, std=1e-3)  # it starts by looking straight ahead
        nn.init.zeros_(cast(nn.Parameter, self.point.bias))

    def forward(
        self, x: torch.Tensor, cells: torch.Tensor, fine: torch.Tensor, count: int
    ) -> torch.Tensor:
        """What is seen in the references at the offsets, added up by confidence.

        Features of LR (B, C, h, w), those of `count` references each (B * R, C, h', w'), and what
        is sampled, on a grid twice as fine (B * R, V, 2h', 2w'). Gives (B, V, 2h, 2w). The weights
        of a place are a softmax over the references, times the confidence in the most trusted one:
        where none is trusted they add to 0.
        """
        size = (2 * x.shape[-2], 2 * x.shape[-1])
        cells = F.interpolate(cells, size=x.shape[-2:], mode="bilinear")
        compared = self.compare(torch.cat([x.repeat_interleave(count, 0), cells], 1))
        pointed = F.interpolate(self.point(compared).float(), size=size, mode="bilinear")
        grid = _places(size, x.device) + FARTHEST * pointed[:, :2].permute(0, 2, 3, 1).tanh()
        sampled = F.grid_sample(fine.float(), grid, padding_mode="border", align_corners=False)
        logits = TRUST + pointed[:, 2].reshape(-1, count, 1, *size)
        weights = torch.softmax(logits, 1) * logits.amax(1, keepdim=True).sigmoid()
        carried = (weights * sampled.reshape(-1, count, fine.shape[1], *size)).sum(1)
        return carried.to(fine.dtype).contiguous(memory_format=torch.channels_last)


def _places(size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """The places (x, y) of a grid's own cells, as F.grid_sample counts: (1, *size, 2)."""
    y, x = ((torch.arange(side, device=device) * 2 + 1) / side - 1 for side in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
