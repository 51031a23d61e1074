"""The latent variable of the compact variant: the ways in which samples differ.

What SR misses of HR, less what LR settles (the part that its reduction would show), is taken to be

    z_1 M_1 + ... + z_D M_D + noise,    z ~ N(0, I),    noise ~ N(0, NOISE^2 I),

where a small network makes the modes M of an image from its own features. So a sample is one code
for the whole image, and the likelihood, and the posterior of z once HR is seen, are known in closed
form: there is no encoder that could be ignored, and no gradient that is drawn. Compare Nehme et
al., NeurIPS 2023 (principal components of what a restoration leaves open), and Monteiro et al.,
NeurIPS 2020 (a Gaussian of low rank, made by a network).
"""

from functools import cache
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models.upscaling import reduction_matrix

BASE = 4  # HR pixels per cell of the base grid, along one side
CELLS = (
    8  # where in the image a cell lies is learned for this many along each side, whatever its size
)
NOISE = (
    0.25  # four times what is missed of a pixel, about: in a cell of 4x4 pixels it is much the same
)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation: colours are to be kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        change: torch.Tensor = self.second(F.relu(self.first(x)))
        return x + change


class Posterior(NamedTuple):
    """What is known of the code of each image once HR is seen. D is the number of its units."""

    mean: torch.Tensor  # (B, D); the prior's is 0
    kl_each: torch.Tensor  # (D,), nats per image in each unit, mean over the batch
    unexplained: (
        torch.Tensor
    )  # (), nats per image: minus the log-likelihood of HR given the code, but for a constant


class Modes(nn.Module):
    """Features of an image -> its modes, drawn at HR / 2.

    None changes what the image is reduced to.
    """

    def __init__(self, width: int, half: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.place = nn.Parameter(torch.empty(1, width, CELLS, CELLS).normal_(std=0.1))
        self.see = nn.Conv2d(width, width, 3, padding=1)
        self.to_half = nn.Conv2d(width, 4 * half, 3, padding=1)
        self.see_fine = nn.Conv2d(half, half, 1)
        self.at_half = ResidualBlock(half)
        self.output = nn.Conv2d(half, 3 * size, 3, padding=1)
        with torch.no_grad():  # modes grow to their size sooner than they shrink to it
            self.output.weight.normal_(std=0.002)
            cast(nn.Parameter, self.output.bias).zero_()

    def forward(self, x: torch.Tensor, fine: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
        """x (B, C, H/4, W/4), fine (B, C', H/2, W/2), lr (B, 3, h, w) -> (B, D, 3, H, W)."""
        place = F.interpolate(self.place, size=x.shape[-2:], mode="bilinear")
        y = F.pixel_shuffle(self.to_half(F.relu(self.see(x) + place)), 2)
        y = F.relu(self.at_half(F.relu(y + self.see_fine(fine))))
        modes = _doubled(self.output(y))
        return left_open(modes.reshape(len(x), self.size, 3, *modes.shape[-2:]), lr)


def _doubled(image: torch.Tensor) -> torch.Tensor:
    """Bilinear enlargement (B, C, h, w) -> (B, C, 2h, 2w) by products of matrices.

    Backwards they take a third of the time of F.interpolate.
    """
    with torch.autocast(image.device.type, enabled=False):
        rows, columns = (
            F.interpolate(torch.eye(side, device=image.device)[None], scale_factor=2, mode="linear")
            for side in image.shape[-2:]
        )
        doubled: torch.Tensor = rows[0].mT @ image.float() @ columns[0]
    return doubled


def left_open(change: torch.Tensor, lr: torch.Tensor) -> torch.Tensor:
    """A change of SR (..., H, W) without what LR (B, 3, h, w) settles: its reduction is 0."""
    (height, width), (long_height, long_width) = lr.shape[-2:], change.shape[-2:]
    rows, higher = _reduction(height, long_height, change.device)
    columns, wider = _reduction(width, long_width, change.device)
    with torch.autocast(change.device.type, enabled=False):
        flat = change.float().reshape(-1, long_height, long_width)
        settled = rows @ (flat @ columns.mT) @ wider.mT
        left = torch.baddbmm(flat, higher.expand(len(flat), -1, -1), settled, alpha=-1)
    return left.reshape(change.shape)


# Without this a compiled step would invert a matrix each time.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _reduction(short: int, long: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The reduction of a line to `short` pixels, (short, long), and its pseudo-inverse."""
    return _computed_reduction(short, long, device)


@cache
def _computed_reduction(
    short: int, long: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(
        False,
    ):  # what is kept may be asked for by an evaluation first, then by a training
        reduction = reduction_matrix(short, long)
        both = (reduction, torch.linalg.pinv(reduction))
        reduction, widening = (each.to(device, torch.float32) for each in both)
    return reduction, widening


def infer(modes: torch.Tensor, missed: torch.Tensor) -> Posterior:
    """The posterior of the code, given what SR missed: (B, D, 3, H, W), (B, 3, H, W).

    Less what LR settles.
    """
    with torch.autocast(modes.device.type, enabled=False):
        m, r = modes.flatten(2), missed.float().flatten(1)
        gram, matched = m @ m.mT / NOISE**2, m @ r[:, :, None] / NOISE**2
        root = torch.linalg.cholesky_ex(  # the loss reports what is no number
            torch.eye(m.shape[1], device=m.device) + gram
        ).L
        mean = torch.cholesky_solve(matched, root)[..., 0]
        variance = torch.cholesky_inverse(root).diagonal(dim1=1, dim2=2)
        log_determinant = root.diagonal(dim1=1, dim2=2).log()
        kl_each = (0.5 * (mean.square() + variance - 1) + log_determinant).mean(0)
        # the square of r - mean m, by (1 + gram) mean = matched
        rest = r.square().sum(1) / NOISE**2 - (mean * (matched[..., 0] + mean)).sum(1)
        rest = rest + (1 - variance).sum(1)
    return Posterior(mean, kl_each, 0.5 * rest.mean())
