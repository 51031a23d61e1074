"""Attention from an image to one or several references of it, cell by cell."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn


class ReferenceAttention(nn.Module):
    """Carries what is seen in the references to where it belongs in the LR image.

    All on the base grid.

    The cells of all references are attended to together, so that each cell of the image takes from
    whichever reference shows it best.
    """

    def __init__(self, width: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.match = nn.Conv2d(width, size, 1)
        self.place = nn.Conv2d(18, size, 1)  # where a cell lies: faces are roughly aligned
        self.sharpness = nn.Parameter(torch.full((heads, 1, 1), 2.0))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """What LR needs of the references.

        Features of LR (B, C, h, w), those of R references (B * R, C, h', w'), and their values (B *
        R, V, h', w'). Gives the values where LR needs them: (B, V, h, w).
        """
        q, k = (F.normalize(self._split(self._placed(t), x.shape[0]), dim=-1) for t in (x, keys))
        v = self._split(values, x.shape[0])
        logits = (q * (4 * self.sharpness.exp())) @ k.transpose(-1, -2)
        # In bfloat16 too it is computed in float32: a GPU's autocast and a CPU's kernel see to it.
        carried = torch.softmax(logits, -1).to(v.dtype) @ v  # (B, heads, hw, V / heads)
        cells = carried.transpose(1, 2).reshape(x.shape[0], *x.shape[-2:], -1)
        return cells.permute(0, 3, 1, 2)  # channels_last, as the convolutions before and after

    def _placed(self, features: torch.Tensor) -> torch.Tensor:
        placed: torch.Tensor = self.match(features) + self.place(
            _fourier_places(*features.shape[-2:], features.device).to(features.dtype)
        )
        return placed

    def _split(self, t: torch.Tensor, batch: int) -> torch.Tensor:
        """(B * R, C, h, w) -> (B, heads, R * hw, C / heads)."""
        cells = t.permute(0, 2, 3, 1).reshape(batch, -1, self.heads, t.shape[1] // self.heads)
        return cells.transpose(1, 2)


@cache
def _fourier_places(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Each cell's place in [-1, 1]^2, as sines and cosines at four frequencies: (1, 18, h, w)."""
    with torch.inference_mode(
        False,
    ):  # what is kept may be asked for by an evaluation first, then by a training
        rows, columns = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # (2, h, w)
        waves = [f(grid * torch.pi * 2**k / 2) for k in range(4) for f in (torch.sin, torch.cos)]
        return torch.cat([grid, *waves])[None]
