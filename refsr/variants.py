"""The variants of the networks. To add one, add a line; parameters, `describe` and tests follow.

This module is read with the parameters, so it imports nothing: the module of a variant is imported
when one of its networks is built.
"""

from typing import NamedTuple


class Variant(NamedTuple):
    """Where the two networks of a variant are; their protocol is `refsr.models.SuperResolver`."""

    module: str
    sisr: str  # class of the single-image network
    refsr: str  # class of the reference network
    sisr_options: tuple[str, ...] = ()  # what `train_sisr.model` may name
    refsr_options: tuple[str, ...] = ()  # what `train_refsr.model` may name
    cell: int = 1  # HR is a multiple of so many pixels
    # Biases of fully connected layers learn at this multiple of the rate; other than 1: undecayed.
    bias_rate: float = 1

    def options(self, model: str) -> tuple[str, ...]:
        """What `train_{model}.model` may name; `model` is "sisr" or "refsr"."""
        return self.sisr_options if model == "sisr" else self.refsr_options


DEFAULT = "compact"
_COMPACT = ("width", "blocks", "latent", "align")
VARIANTS = {
    "compact": Variant(
        "refsr.models.compact",
        "CompactSisr",
        "CompactRefsr",
        _COMPACT,
        (*_COMPACT, "heads", "attention", "offsets"),
    ),
    "release": Variant(
        "refsr.models.release",
        "ReleaseSisr",
        "ReleaseRefsr",
        ("deployed_sd",),
        ("mode",),
        cell=8,
        bias_rate=2,  # the authors' files: lr_mult 2, decay_mult 0
    ),
    "figure": Variant(
        "refsr.models.figure",
        "FigureSisr",
        "FigureRefsr",
        ("deployed_sd",),
        ("mode",),
        cell=8,
    ),
}
