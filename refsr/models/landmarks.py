"""Five landmarks of a face, and references laid onto the face by them.

Points are (x, y) in [-1, 1], from edge to edge of the image, as F.grid_sample counts: eye on the
left, eye on the right, nose tip, left and right corner of the mouth.
docs/decisions/0013-aligned-references.md says what the alignment is worth.
"""

import torch
import torch.nn.functional as F
from torch import nn

from refsr.face_crops import USUAL

SIDE = 32  # pixels: every image is resized to this square first
_CELLS = 8  # along each side of the features that the points are read from
_LEAST_SPREAD = 1e-3  # keeps the fit defined when all points coincide


class Locator(nn.Module):
    """Finds the landmarks of a face, in small images and in large ones.

    It predicts how each point differs from its usual place in a crop.
    """

    usual: torch.Tensor

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.locate = nn.Sequential(
            nn.Linear(2 * width * _CELLS**2, 128),
            nn.ReLU(),
            nn.Linear(128, len(USUAL) * 2),
        )
        self.register_buffer("usual", torch.tensor(USUAL), persistent=False)

    def forward(self, *images: torch.Tensor) -> torch.Tensor:
        """RGB in [0, 1], (B, 3, h, w) each, of any sizes -> points of all (B in all, 5, 2)."""
        size = (SIDE, SIDE)
        squares = torch.cat(
            [F.interpolate(x.float(), size=size, mode="bicubic", antialias=True) for x in images]
        )
        offsets = self.locate(self.see(squares - 0.5).contiguous().flatten(1))
        points: torch.Tensor = self.usual + 0.2 * offsets.float().reshape(-1, len(USUAL), 2)
        return points


def similarity_between(points: torch.Tensor, ref_points: torch.Tensor) -> torch.Tensor:
    """The turn, scale and shift that take points to those of references, least squares.

    (B, 5, 2) both -> (B, 2, 3), as F.affine_grid takes it. It has fewer degrees of freedom than an
    affine map, so that errors of single points move it less.
    """
    middle, ref_middle = points.mean(1, keepdim=True), ref_points.mean(1, keepdim=True)
    p, q = points - middle, ref_points - ref_middle
    spread = p.square().sum((1, 2)).clamp(min=_LEAST_SPREAD)
    cos = (p * q).sum((1, 2)) / spread
    sin = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(1) / spread
    turn = torch.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2)
    return torch.cat([turn, ref_middle.mT - turn @ middle.mT], 2)


def lay_onto(ref: torch.Tensor, place: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """References (B, 3, H', W') sampled where a map (B, 2, 3) points: (B, 3, *size)."""
    grid = F.affine_grid(place, [ref.shape[0], 3, *size], align_corners=False)
    return F.grid_sample(ref.float(), grid, padding_mode="reflection", align_corners=False)
