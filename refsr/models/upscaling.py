"""References, fidelity and temperature of `upscale`, the same for every variant."""

import torch
import torch.nn.functional as F

from refsr.errors import RefsrError


def as_set(ref: torch.Tensor) -> torch.Tensor:
    """One reference (B, 3, H, W) or R of them (B, R, 3, H, W) -> (B, R, 3, H, W).

    RefsrError for any other shape.
    """
    several = ref[:, None] if ref.dim() == 4 else ref
    if several.dim() != 5 or several.shape[1] < 1 or several.shape[2] != 3:
        raise RefsrError(
            "references are (B, 3, H, W) or (B, R, 3, H, W) with R of 1 or more, "
            f"not {tuple(ref.shape)}",
        )
    return several


def reduced(image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The bicubic reduction that makes LR, but linear: neither clamped nor rounded.

    (B, 3, H, W) -> (B, 3, *size).
    """
    return F.interpolate(image.float(), size=size, mode="bicubic", antialias=True)


def resized(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Bicubic, antialiased where it reduces: (B, 3, H, W) -> (B, 3, factor H, factor W)."""
    return F.interpolate(image.float(), scale_factor=factor, mode="bicubic", antialias=True)


def hold_to_lr(sr: torch.Tensor, lr: torch.Tensor, fidelity: float) -> torch.Tensor:
    """SR with a share of what its reduction misses of LR put back.

    (B, 3, H, W), (B, 3, h, w) -> (B, 3, H, W). 0 leaves SR as it is; 1 makes its reduction LR,
    before SR is clamped. Of all changes that do so it is the least, in squares: the reduction D
    works along rows and along columns, so that its pseudo-inverse does too. Raises RefsrError where
    `fidelity` is not in [0, 1].
    """
    if not 0 <= fidelity <= 1:
        raise RefsrError(
            f"fidelity {fidelity} is not in [0, 1]: "
            "the share of what SR misses of LR that is put back",
        )
    if fidelity == 0:
        return sr
    height, width = lr.shape[-2:]
    missed = lr.float() - reduced(sr, (height, width))
    rows, columns = (
        _widening(*sides, sr) for sides in ((height, sr.shape[-2]), (width, sr.shape[-1]))
    )
    return sr + fidelity * (rows @ missed @ columns.T)


def reduction_matrix(short: int, long: int) -> torch.Tensor:
    """The bicubic reduction of a line from `long` to `short` pixels, (short, long) float64."""
    line = torch.eye(long, dtype=torch.float64)[None, None]  # each column a line with one pixel set
    return F.interpolate(line, size=(short, long), mode="bicubic", antialias=True)[0, 0]


def _widening(short: int, long: int, like: torch.Tensor) -> torch.Tensor:
    """The pseudo-inverse (long, short) of that reduction."""
    widening: torch.Tensor = torch.linalg.pinv(reduction_matrix(short, long)).to(
        like.device,
        torch.float32,
    )
    return widening


def require_no_temperature(temperature: float, variant: str) -> None:
    """Raises RefsrError where samples are asked of a variant that draws none."""
    if temperature != 0:
        raise RefsrError(
            f"the variant {variant} draws no samples: temperature must be 0, not {temperature}",
        )
