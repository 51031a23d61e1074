"""A reference peer of benchmarks/peers.py: hard matching of patches, after MASA-SR and C2-Matching.

Sources: L. Lu et al., "MASA-SR", CVPR 2021 (spatial adaptation), and Y. Jiang et al., "Robust
Reference-based Super-Resolution via C2-Matching", CVPR 2021 (the best patch, weighted by its
similarity). Made small for faces: one encoder sees LR enlarged by bicubic, the reference and the
reference reduced and enlarged alike; each cell of HR / 4 takes the features of the one cell of the
reference whose 3x3 patch is most alike, on three grids. Nothing lays the reference onto the face.
Not built: the coarse search by blocks of MASA, whose grids are larger, and the student that
C2-Matching trains for matching.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peer import Peer
from torch import nn

from refsr.models.latent import ResidualBlock
from refsr.models.upscaling import as_set, resized

WIDTHS = (24, 36, 48)  # features at HR, HR / 2 and HR / 4


class MasaSisr(Peer):
    """LR (B, 3, h, w) in [0, 1] -> SR (B, 3, scale h, scale w), without a reference."""

    def __init__(self, hr_size: int = 128, scale: int = 8, blocks: int = 4) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "model": "sisr", "variant": "masa", "hr_size": hr_size, "scale": scale,
            "blocks": blocks,
        }  # fmt: skip
        self.scale = scale
        fine, half, base = WIDTHS
        self.encoder = nn.ModuleList(
            [
                nn.Conv2d(3, fine, 3, padding=1),
                nn.Conv2d(fine, half, 3, stride=2, padding=1),
                nn.Conv2d(half, base, 3, stride=2, padding=1),
            ]
        )
        self.body = nn.Sequential(*(ResidualBlock(base) for _ in range(blocks)))
        self.enlarge = nn.ModuleList(
            [nn.Conv2d(half, 4 * fine, 3, padding=1), nn.Conv2d(base, 4 * half, 3, padding=1)],
        )
        self.refine = nn.ModuleList([ResidualBlock(fine), ResidualBlock(half)])
        self.output = nn.Conv2d(fine, 3, 3, padding=1)

    def restore(self, lr: torch.Tensor, ref: torch.Tensor | None) -> torch.Tensor:
        """SR, not clamped."""
        enlarged = resized(lr, self.scale)
        x = self.features(enlarged)[2]
        matched = self.matched(x, ref)
        x = self.body(self.adapted(2, x, matched))
        for level in (1, 0):
            x = F.pixel_shuffle(self.enlarge[level](x), 2)
            x = self.refine[level](self.adapted(level, x, matched))
        residual: torch.Tensor = self.output(x)
        return enlarged + residual.float()

    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """RGB (B, 3, H, W) -> features at HR, HR / 2 and HR / 4."""
        levels, x = [], images - 0.5
        for layer in self.encoder:
            x = F.relu(layer(x))
            levels.append(x)
        return levels

    def matched(self, x: torch.Tensor, ref: torch.Tensor | None) -> list[torch.Tensor] | None:
        """What references show of x (B, C, h, w), on each grid; nothing here."""
        return None

    def adapted(
        self,
        level: int,
        x: torch.Tensor,
        matched: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """x, and what was matched on this grid; x alone here."""
        return x


class MasaRefsr(MasaSisr):
    """The same, with what the best match of each cell shows added on every grid."""

    def __init__(self, hr_size: int = 128, scale: int = 8, blocks: int = 4) -> None:
        super().__init__(hr_size, scale, blocks)
        self.config |= {"model": "refsr"}
        self.moments = nn.ModuleList(nn.Conv2d(2 * w, 2 * w, 3, padding=1) for w in WIDTHS)
        self.fuse = nn.ModuleList(nn.Conv2d(2 * w, w, 3, padding=1) for w in WIDTHS)

    def matched(self, x: torch.Tensor, ref: torch.Tensor | None) -> list[torch.Tensor] | None:
        """The features of the best match of each cell, times their similarity."""
        if ref is None:
            return None
        references = as_set(ref)
        count, every = references.shape[1], references.flatten(0, 1)
        keys = self.features(resized(resized(every, 1 / self.scale), self.scale))[2]
        similarity = _patches(x, 1).mT @ _patches(keys, count)  # (B, h w, R h' w')
        best, index = similarity.max(-1)
        weight = best.reshape(len(x), 1, *x.shape[-2:])
        levels = self.features(every)
        cells = (F.pixel_unshuffle(f, 4 >> n) for n, f in enumerate(levels))
        taken = (_gathered(cell, count, index, x.shape[-2:]) * weight for cell in cells)
        return [F.pixel_shuffle(values, 4 >> n) for n, values in enumerate(taken)]

    def adapted(
        self,
        level: int,
        x: torch.Tensor,
        matched: list[torch.Tensor] | None,
    ) -> torch.Tensor:
        """x and what was matched, whose moments are brought to those of x."""
        if matched is None:
            return x
        values = matched[level]
        scale, shift = self.moments[level](torch.cat([x, values], 1)).chunk(2, 1)
        moved = F.instance_norm(values) * (x.std((2, 3), keepdim=True) + scale)
        both = torch.cat([x, moved + x.mean((2, 3), keepdim=True) + shift], 1)
        change: torch.Tensor = self.fuse[level](both)
        return x + change


def _patches(x: torch.Tensor, count: int) -> torch.Tensor:
    """The 3x3 patches of `count` images each, of length 1: (B R, C, h, w) -> (B, 9 C, R h w)."""
    patches = F.normalize(F.unfold(x.float(), 3, padding=1), dim=1)
    return patches.reshape(-1, count, *patches.shape[1:]).transpose(1, 2).flatten(2)


def _gathered(
    cells: torch.Tensor,
    count: int,
    index: torch.Tensor,
    size: torch.Size,
) -> torch.Tensor:
    """The cells (B R, C, h', w') at `index` (B, h w): (B, C, h, w)."""
    flat = cells.reshape(-1, count, *cells.shape[1:]).transpose(1, 2).flatten(2)
    taken = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
    return taken.reshape(*taken.shape[:2], *size)
