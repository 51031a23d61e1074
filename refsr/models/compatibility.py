"""Whether a reference fits a small face: the probability that both show one person.

A network that compares lays the reference onto the face and says how far the two differ in each of
8x8 cells, in brightness and in colour. `Compatibility` weighs these differences; training fits it
(refsr.training.compatibility) and the checkpoint keeps it.
docs/decisions/0014-compatibility.md says what it is worth.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import nn

FITS = 0.5  # the score from which on a reference is taken for one that fits
MISFIT = 0.2  # below it users are warned; few right references are
CELLS = 8  # along each side
DIFFERENCES = 3 * CELLS * CELLS // 2  # of a pair
_YCBCR = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))  # BT.601


class Compatibility(NamedTuple):
    """A logistic map from differences to a probability, where right and wrong are as frequent."""

    weights: tuple[float, ...]  # DIFFERENCES of them
    bias: float

    def probability(self, values: torch.Tensor) -> torch.Tensor:
        """Differences (..., DIFFERENCES) -> probabilities (...)."""
        weights = torch.tensor(self.weights, dtype=torch.float64, device=values.device)
        return torch.sigmoid(values.double() @ weights + self.bias)


@runtime_checkable
class Comparing(Protocol):
    """A network that compares references with the face."""

    compatibility: Compatibility | None  # None where no training has fitted it

    def differences(self, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
        """LR (B, 3, h, w), references (B, R, 3, H, W) or (B, 3, H, W) -> (B, R, DIFFERENCES)."""


def differences_of(lr: torch.Tensor, laid: torch.Tensor) -> torch.Tensor:
    """LR (B, 3, h, w) and references (B, R, 3, H, W) laid onto it -> (B, R, DIFFERENCES).

    Absolute differences in Y, Cb and Cr. Those of a cell and of its mirror image are added: a face
    may be lit from either side.
    """
    cells = _cells(laid.flatten(0, 1)).reshape(*laid.shape[:3], CELLS, CELLS)
    gap = cells - _cells(lr)[:, None]
    gap = torch.einsum("kc,brchw->brkhw", gap.new_tensor(_YCBCR), gap).abs()
    both: torch.Tensor = (gap + gap.flip(-1))[..., : CELLS // 2]
    return both.flatten(-3)


def _cells(images: torch.Tensor) -> torch.Tensor:
    size = (CELLS, CELLS)
    return F.interpolate(images.float(), size=size, mode="bicubic", antialias=True).clamp(0, 1)


@torch.inference_mode()
def score(model: nn.Module, lr: torch.Tensor, ref: torch.Tensor) -> torch.Tensor | None:
    """The probability in [0, 1] that each reference fits: (B, R).

    `lr` is (B, 3, h, w), `ref` (B, 3, H, W) or (B, R, 3, H, W). None where the variant does not
    compare, or its training had no validation people to calibrate by.
    """
    if not isinstance(model, Comparing) or model.compatibility is None:
        return None
    return model.compatibility.probability(model.differences(lr, ref))


def read_compatibility(values: Any) -> Compatibility:
    """What `Compatibility._asdict` gave, read from JSON.

    Raises ValueError, TypeError or KeyError for what cannot be one.
    """
    made = Compatibility(tuple(map(float, values["weights"])), float(values["bias"]))
    if len(made.weights) != DIFFERENCES or not all(map(math.isfinite, (*made.weights, made.bias))):
        raise ValueError(f"compatibility is not of {DIFFERENCES} finite weights and a bias")
    return made
