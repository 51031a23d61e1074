"""The terms of the default loss, a function each. To add one, add a function.

A term takes `Restored` and returns (), the mean over the batch. Its weight becomes the parameter
`NAME_weight` of `train_sisr.loss` and `train_refsr.loss`, 0 unless `refsr.config.Loss` says more;
a term without weight is not computed. This module is read with the parameters, by commands that
need no PyTorch: import it inside the function.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Restored(Protocol):
    """What a term may use. Images are RGB in [0, 1]; distances are means over the batch."""

    @property
    def sr(self) -> "Tensor":
        """The output, (B, 3, H, W), not clamped."""

    @property
    def hr(self) -> "Tensor":
        """The true images, (B, 3, H, W)."""

    @property
    def lr(self) -> "Tensor":
        """The small images, (B, 3, h, w)."""

    def feature_distance(self) -> "Tensor":
        """Of SR and HR, in the features of the network `loss.perceptual`: ()."""

    def identity_distance(self) -> "Tensor":
        """1 - cosine of the embeddings of SR and HR by the network `loss.identity`: ()."""

    def reduced(self) -> "Tensor":
        """SR reduced to the size of LR by the bicubic that makes LR: (B, 3, h, w)."""


Term = Callable[[Restored], "Tensor"]
TERMS: dict[str, Term] = {}


def loss_term(term: Term) -> Term:
    """Register a function as the term of its name."""
    TERMS[term.__name__] = term
    return term


@loss_term
def perceptual(restored: Restored) -> "Tensor":
    """Distance in the features of the network `perceptual`."""
    return restored.feature_distance()


@loss_term
def identity(restored: Restored) -> "Tensor":
    """1 - cosine of the embeddings by the network `identity`."""
    return restored.identity_distance()


@loss_term
def consistency(restored: Restored) -> "Tensor":
    """mean|LR - reduced SR|."""
    return (restored.lr - restored.reduced()).abs().mean()
