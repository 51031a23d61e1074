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


DEFAULT = "compact"
VARIANTS = {
    "compact": Variant("refsr.models.compact", "CompactSisr", "CompactRefsr"),
    "release": Variant("refsr.models.release", "ReleaseSisr", "ReleaseRefsr"),
    "figure": Variant("refsr.models.figure", "FigureSisr", "FigureRefsr"),
}
