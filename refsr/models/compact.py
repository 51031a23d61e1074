"""The compact variant: conditional VAEs, convolutional throughout, for any size and for 4x to 16x.

Everything happens on three grids: the base grid (HR / 4), twice that, and HR itself. The
single-image network predicts what bicubic enlargement misses. The reference network first lays the
reference onto the face by landmarks that a small network finds in both (refsr.models.landmarks).
Then it samples what the reference shows at learned offsets (refsr.models.offsets), or runs the same
trunk on the LR image AND on the reduced reference, so that both have features of one kind and
attention can match them, or both. What is carried over is made of the reference itself and of what
bicubic is known to miss on it. docs/decisions/0002-compact-variant.md says why.
SR takes nothing that is drawn; a sample is SR and what a code changes in it (refsr.models.latent).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from refsr.models import Output
from refsr.models.attention import ReferenceAttention
from refsr.models.compatibility import Compatibility, differences_of
from refsr.models.decoder import Context, Decoder, Fine
from refsr.models.landmarks import Locator, lay_onto, similarity_between
from refsr.models.latent import BASE, Modes, ResidualBlock, infer, left_open
from refsr.models.offsets import OffsetSampling
from refsr.models.upscaling import as_set, hold_to_lr, require_no_temperature, resized
from refsr.parameter_types import MATCH_CHANNELS, heads_fault

# One in so many images of a training batch teaches the modes too: all would make a step far longer.
SHARE = 4


class Restored(NamedTuple):
    """What a network makes of an image without drawing anything, and the features it is made of."""

    sr: torch.Tensor  # (B, 3, H, W)
    x: torch.Tensor  # (B, C, H/4, W/4)
    fine: torch.Tensor  # (B, C', H/2, W/2)


class CompactSisr(nn.Module):
    """The single-image conditional VAE.

    Images are RGB in [0, 1], of any size and shape that `scale` divides.

    Options: `latent` is the number of units of the latent variable, which are the ways in which
    samples differ; 0 for none at all. `align` adds the network that finds the landmarks by which
    the reference network lays references onto the face.
    """

    def __init__(
        self,
        hr_size: int = 128,
        scale: int = 8,
        width: int = 64,
        blocks: int = 4,
        latent: int = 16,
        align: bool = True,
    ) -> None:
        super().__init__()
        if latent < 0:
            raise ValueError(f"latent {latent}: there cannot be fewer units than 0")
        self.config: dict[str, Any] = {
            "model": "sisr", "variant": "compact", "hr_size": hr_size, "scale": scale,
            "width": width, "blocks": blocks, "latent": latent, "align": align,
        }  # fmt: skip
        self.scale = scale
        self.draws_samples = latent > 0
        self.learns_landmarks = align
        self.locator = Locator() if align else None
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.context = Context(width)
        self.decoder = Decoder(width)
        self.modes = Modes(width, width * 3 // 4, latent) if self.draws_samples else None

    def encode(self, lr: torch.Tensor) -> torch.Tensor:
        """LR (B, 3, h, w) -> features on the base grid (B, C, h * scale / 4, w * scale / 4)."""
        features: torch.Tensor = self.body(self.head(resized(lr, self.scale / BASE) - 0.5))
        return features

    def forward(
        self,
        lr: torch.Tensor,
        hr: torch.Tensor,
        ref: torch.Tensor | None = None,
        faces: torch.Tensor | None = None,
        points: torch.Tensor | None = None,
    ) -> Output:
        """One forward in training; see `SuperResolver`.

        The latent variable learns from what SR missed, and SR nothing from it.
        """
        restored = self.restore(lr, ref)
        misplaced = self._misplaced(faces, points)
        if self.modes is None:
            none = lr.new_zeros(len(lr), 0)
            return Output(restored.sr, none.sum(0), none, none, misplaced=misplaced)
        count = -(-len(lr) // SHARE) if self.training else len(lr)
        sr, x, fine = (part[:count].detach() for part in restored)
        lr, hr = lr[:count], hr[:count]
        latent = infer(self.modes(x, fine, lr), left_open(hr - sr, lr))
        return Output(
            restored.sr,
            latent.kl_each,
            latent.mean,
            torch.zeros_like(latent.mean),
            latent.unexplained,
            misplaced,
        )

    def _misplaced(
        self, faces: torch.Tensor | None, points: torch.Tensor | None
    ) -> torch.Tensor | float:
        """How far the landmarks found in faces are from `points`: one half is reduced to LR."""
        if self.locator is None or faces is None or points is None:
            return 0.0
        half = len(faces) // 2
        small = resized(faces[:half], 1 / self.scale)
        predicted = self.locator(small, faces[half:])
        known = points.isfinite()
        errors = torch.where(known, predicted - points.nan_to_num(), 0).abs()
        return errors.sum() / known.sum().clamp(1)

    def upscale(
        self,
        lr: torch.Tensor,
        ref: torch.Tensor | None = None,
        *,
        temperature: float = 0.0,
        fidelity: float = 0.0,
    ) -> torch.Tensor:
        """SR (B, 3, H, W), not clamped; see `SuperResolver.upscale`."""
        if self.modes is None:
            require_no_temperature(temperature, "compact without a latent variable")
        sr, x, fine = self.restore(lr, ref)
        if self.modes is not None and temperature != 0:
            modes = self.modes(x, fine, lr)
            code = temperature * torch.randn(modes.shape[:2], device=modes.device)
            sr = sr + (code[:, :, None, None, None] * modes).sum(1)
        return hold_to_lr(sr, lr, fidelity)

    def restore(self, lr: torch.Tensor, ref: torch.Tensor | None) -> Restored:
        """What takes nothing drawn; `ref` is ignored."""
        return self._decode(lr, self.encode(lr), None)

    def _decode(self, lr: torch.Tensor, x: torch.Tensor, fine: Fine | None) -> Restored:
        x = self.context(x)
        residual, at_half = self.decoder(x, fine)
        return Restored(resized(lr, self.scale) + residual.float(), x, at_half)


class CompactRefsr(CompactSisr):
    """The single-image network, and beside it what brings one or several references in.

    Options: without `align` references are not laid onto the face. `offsets` samples references at
    learned offsets, `attention` matches cells with `heads`; without both each cell takes what the
    references show at its own place, their mean.
    """

    def __init__(
        self,
        hr_size: int = 128,
        scale: int = 8,
        width: int = 64,
        blocks: int = 4,
        latent: int = 16,
        align: bool = True,
        heads: int = 4,
        attention: bool = False,
        offsets: bool = True,
    ) -> None:
        super().__init__(hr_size, scale, width, blocks, latent, align)
        self.config |= {
            "model": "refsr", "heads": heads, "attention": attention, "offsets": offsets,
        }  # fmt: skip
        if attention and (fault := heads_fault(width, heads)):
            raise ValueError(fault)
        half = width * 3 // 4
        self.see = nn.Sequential(
            nn.Conv2d(6 * 4, half, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.ReLU(),
        )
        self.see_coarse = nn.Conv2d(4 * half, width, 1)
        self.attention = ReferenceAttention(width, MATCH_CHANNELS, heads) if attention else None
        self.offsets = OffsetSampling(width) if offsets else None
        sources = 1 + max(1, attention + offsets)  # of features that are fused: x is the first
        self.fuse = nn.Sequential(
            nn.Conv2d(sources * width, width, 3, padding=1), ResidualBlock(width)
        )
        fuse_fine = nn.Conv2d(sources * half, half, 3, padding=1)
        self.fuse_fine = nn.Sequential(fuse_fine, ResidualBlock(half)) if offsets else fuse_fine
        self.gate = nn.Parameter(torch.full((1, width, 1, 1), 0.5))
        self.gate_fine = nn.Parameter(torch.full((1, half, 1, 1), 0.5))
        self.compatibility: Compatibility | None = None

    def restore(self, lr: torch.Tensor, ref: torch.Tensor | None) -> Restored:
        """What takes nothing drawn; without `ref` by the single-image path alone."""
        if ref is None:
            return super().restore(lr, None)
        x = self.encode(lr)
        carried = self._carry_over(x, self.aligned(lr, as_set(ref)))
        coarse, fine = zip(*carried, strict=True)

        def add_fine(y: torch.Tensor) -> torch.Tensor:
            change: torch.Tensor = self.fuse_fine(torch.cat([y, *fine], 1))
            return y + self.gate_fine.type_as(change) * change

        change = self.fuse(torch.cat([x, *coarse], 1))
        x = x + self.gate.type_as(change) * change
        return self._decode(lr, x, add_fine)

    def differences(self, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        """See refsr.models.compatibility.Comparing."""
        return differences_of(lr, self.aligned(lr, as_set(ref)))

    def aligned(self, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        """References (B, R, 3, H', W') laid onto the faces of LR: (B, R, 3, H, W)."""
        if self.locator is None:
            return ref
        every = ref.flatten(0, 1)
        with torch.no_grad():  # the landmarks learn from landmarks alone
            points = self.locator(lr).repeat_interleave(ref.shape[1], 0)
            places = similarity_between(points, self.locator(every))
        size = (lr.shape[-2] * self.scale, lr.shape[-1] * self.scale)
        return lay_onto(every, places, size).reshape(*ref.shape[:3], *size)

    def _carry_over(
        self, x: torch.Tensor, ref: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What x (B, C, h, w) needs of references (B, R, 3, H', W'), by each way of finding it.

        On the base grid (B, C, h, w), and at HR / 2.
        """
        count, ref = ref.shape[1], ref.flatten(0, 1)
        reduced = resized(ref, 1 / self.scale).clamp(0, 1)
        missed = ref - resized(reduced, self.scale)
        # (B R, C', H'/2, W'/2)
        seen = self.see(F.pixel_unshuffle(torch.cat([ref - 0.5, 4 * missed], 1), 2))
        cells = F.pixel_unshuffle(seen, 2)
        coarse = self.see_coarse(cells)
        carried = []
        if self.offsets is not None:
            fine = self.offsets(x, coarse, seen, count)
            carried.append((self.see_coarse(F.pixel_unshuffle(fine, 2)), fine))
        if self.attention is not None:
            # The trunk learns from LR; the reference is only matched by what it has learned.
            with torch.no_grad():
                keys = self.encode(reduced)
            carried.append(_parts(self.attention(x, keys, torch.cat([coarse, cells], 1)), x))
        if not carried:
            values = torch.cat([coarse, cells], 1)
            in_place = F.interpolate(values, size=x.shape[-2:], mode="bilinear")
            carried.append(_parts(in_place.reshape(len(x), -1, *in_place.shape[1:]).mean(1), x))
        return carried


def _parts(values: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Values on the base grid -> those with the channels of x, and the others at HR / 2."""
    width = x.shape[1]
    return values[:, :width], F.pixel_shuffle(values[:, width:], 2)
