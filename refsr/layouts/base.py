"""What a raw set looks like: the protocol of a layout, and of what is known beside its images.

A layout is a module of this package with the functions of `Layout`; refsr.layouts.registry has its
name. It reads names only. Names are those of refsr.io.sources: relative to the set, archives as if
unpacked beside it.
"""

from collections.abc import Collection
from typing import Protocol

import pandas as pd

from refsr.io.sources import Source

BOX = ("x", "y", "w", "h")
LANDMARKS = tuple(f"p{i}{axis}" for i in range(1, 6) for axis in "xy")  # eyes, nose, mouth corners
SPLITS = ("train", "test")
SEXES = ("f", "m", "?")


class Metadata(Protocol):
    """What files of a raw set say of its images; an image is named IDENTITY/STEM there."""

    @property
    def files(self) -> list[str]:
        """Their names."""

    @property
    def has_boxes(self) -> bool:
        """Whether there are box files at all; where not, faces have to be detected."""

    @property
    def has_landmarks(self) -> bool:
        """Whether there are landmark files at all."""

    def boxes(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """x, y, w, h of the face in source pixels, by image name, of these identities or of all."""

    def landmarks(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """p1x ... p5y in source pixels, by image name, of these identities or of all."""

    def sexes(self) -> dict[str, str]:
        """Identity -> "m" or "f", where known."""


class Layout(Protocol):
    """Which files of a raw set are identities, images and metadata; a module implements it."""

    def expected(self) -> str:
        """In words, what a set of this layout has; it ends a message."""

    def identity_of(self, name: str) -> str:
        """The identity whose folder a file stands in, "" where it stands in none."""

    def is_image(self, name: str) -> bool:
        """Whether a file may be an image, by its name; its content decides."""

    def is_metadata(self, name: str, size: int) -> bool:
        """Whether a file that belongs to no identity may be metadata."""

    def decides_splits(self, name: str, size: int) -> bool:
        """Whether it is metadata by which identities are chosen, read before any image."""

    def split_of(self, folder: str) -> str:
        """The split ("train", "test" or "") of the identity in a folder.

        The path of the folder begins with the name of the set itself.
        """

    def identity_folders(self, uri: str, folders: set[str]) -> set[str]:
        """Those of the folders with images that are an identity's.

        Raises:
            RefsrError: The folders contradict each other.
        """

    def metadata(self, source: Source) -> Metadata:
        """What the set says of its images."""


class NoMetadata:
    """A set of images alone."""

    files: list[str] = []  # noqa: RUF012 - never changed
    has_boxes = False
    has_landmarks = False

    def boxes(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """No rows."""
        return pd.DataFrame(columns=list(BOX), dtype=float)

    def landmarks(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """No rows."""
        return pd.DataFrame(columns=list(LANDMARKS), dtype=float)

    def sexes(self) -> dict[str, str]:
        """Nobody's."""
        return {}
