"""VGGFace2 as distributed (Cao et al. 2018): its folders, and the quirks of its metadata files.

Whatever the mirror, an image is known by `<identity>/<stem>`, e.g. `n000002/0032_01`, the name the
metadata files use.
"""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import BinaryIO

import numpy as np
import pandas as pd

from refsr.errors import RefsrError
from refsr.io.files import open_extent
from refsr.io.sources import Source
from refsr.io.tar import MAX_FILE
from refsr.layouts.base import BOX, LANDMARKS, SPLITS
from refsr.layouts.vggface2_csv import (
    MAX_METADATA,
    Lines,
    find_lines,
    lines_of,
    read_numbers,
    read_sexes,
)

_BOX_FILES, _LANDMARK_FILES, _SEX_FILES = _FILES = (
    "loose_bb_*.csv",
    "loose_landmark_*.csv",
    "identity_meta.csv",
)
# At most three folders above that of the identity:
# vggface2/vggface2_train/train/n000002/0001_01.jpg.
_IN_FOLDER = re.compile(r"(?:[^/]+/){0,3}(n\d{6})/[^/]*", re.ASCII)
_SUFFIXES = {".jpg", ".jpeg", ".png"}


class CsvFiles:
    """The metadata files of a raw set, anywhere beside or above the identities."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._line_index: dict[str, dict[int, dict[str, list[Lines]]]] = {}

    @property
    def files(self) -> list[str]:
        """Their names, boxes first."""
        names = self.source.files["name"]
        return [names.iloc[row] for pattern in _FILES for row in self.find(pattern)]

    def find(self, pattern: str) -> list[int]:
        """The rows in `source.files` of the metadata files of this name.

        They lie anywhere beside or above the identities.
        """
        names = self.source.files["name"]
        likely = names[names.str.endswith(pattern.rpartition("*")[2])]
        return [
            row
            for name, row in sorted(zip(likely, likely.index.to_numpy().tolist(), strict=True))
            if fnmatchcase(name.rpartition("/")[2], pattern) and not identity_of(name)
        ]

    @property
    def has_boxes(self) -> bool:
        """Whether there are box files at all; where not, faces have to be looked for."""
        return bool(self.find(_BOX_FILES))

    @property
    def has_landmarks(self) -> bool:
        """Whether there are landmark files at all; mirrors of the set ship none."""
        return bool(self.find(_LANDMARK_FILES))

    def boxes(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """x, y, w, h of the face in source pixels, by image name; none without files.

        They are those of these identities, or of all.
        """
        return self._numbers(_BOX_FILES, BOX, identities)

    def landmarks(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """p1x ... p5y in source pixels, by image name; no rows where a mirror ships none."""
        return self._numbers(_LANDMARK_FILES, LANDMARKS, identities)

    def _numbers(
        self, pattern: str, columns: tuple[str, ...], identities: Collection[str] | None
    ) -> pd.DataFrame:
        if identities is None:
            tables = [read_numbers(*self.open(row), columns) for row in self.find(pattern)]
        else:
            parts = {
                row: lines_of(lines, identities)
                for row, lines in self._lines(pattern, columns).items()
            }
            tables = [
                read_numbers(*self.open(row, some[-1].end), columns, some)
                for row, some in parts.items()
                if some
            ]
        joined = pd.concat(tables) if tables else pd.DataFrame(columns=list(columns), dtype=float)
        return joined[~joined.index.duplicated()]

    def _lines(self, pattern: str, columns: tuple[str, ...]) -> dict[int, dict[str, list[Lines]]]:
        """Of each of these files, where the lines of each identity are; a file is read once."""
        if pattern not in self._line_index:
            self._line_index[pattern] = {
                row: find_lines(*self.open(row), columns) for row in self.find(pattern)
            }
        return self._line_index[pattern]

    def sexes(self) -> dict[str, str]:
        """identity -> "m" or "f", of those that identity_meta.csv tells."""
        return {
            key: sex
            for row in self.find(_SEX_FILES)
            for key, sex in read_sexes(*self.open(row, most=MAX_FILE)).items()
        }

    def open(
        self, row: int, end: int = MAX_METADATA, most: int = MAX_METADATA
    ) -> tuple[BinaryIO, str]:
        """A metadata file of `source.files`, opened up to byte `end`, and its title in messages.

        Raises RefsrError where it has more than `most` bytes.
        """
        (extent,) = self.source.extents(np.array([row]))
        title = f"{self.source.uri}/{self.source.files['name'].iloc[row]}"
        if extent.length > most:
            raise RefsrError(
                f"{title}: {extent.length} bytes are more than any metadata of VGGFace2; "
                "take it away"
            )
        return open_extent(extent._replace(length=min(extent.length, end))), title


def identity_of(name: str) -> str:
    """The identity whose folder a file stands in, "" where it stands in none or too deep."""
    match = _IN_FOLDER.fullmatch(name)
    return match[1] if match else ""


def is_image(name: str) -> bool:
    """Whether a file may be an image, by its name; what it is, its content says."""
    file = name.rpartition("/")[2]
    return file[file.rfind(".") :].lower() in _SUFFIXES and not file.startswith(".")


def is_metadata(name: str, size: int) -> bool:
    """Whether a file that belongs to no identity may be metadata."""
    return name.lower().endswith(".csv") and size <= MAX_METADATA


def decides_splits(name: str, size: int) -> bool:
    """Whether a file says which identities are women and men."""
    return name.rpartition("/")[2] == _SEX_FILES and is_metadata(name, size)


def split_of(folder: str) -> str:
    """That which the name of the folder right above ends with."""
    parent = folder.rpartition("/")[0].rpartition("/")[2]
    return next((split for split in SPLITS if parent.endswith(split)), "")


def identity_folders(uri: str, folders: set[str]) -> set[str]:
    """All: an identity is known by the name of its folder."""
    return folders


def metadata(source: Source) -> CsvFiles:
    """Boxes, landmarks and sexes."""
    return CsvFiles(source)


def expected() -> str:
    """What a set has."""
    return (
        "identity folders (nXXXXXX): nXXXXXX/, train/nXXXXXX/, test/nXXXXXX/ "
        "or these under vggface2/, vggface2_train/ or vggface2_test/"
    )
