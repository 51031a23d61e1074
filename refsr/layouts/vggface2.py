"""VGGFace2 as distributed (Cao et al. 2018): the layouts of its folders and the quirks of its metadata files.

Whatever the mirror, an image is known by `<identity>/<stem>`, e.g. `n000002/0032_01`, the name the metadata files use.
"""

import re
from array import array
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from refsr.errors import RefsrError
from refsr.io.files import open_extent
from refsr.io.sources import Source, open_source, stem
from refsr.io.tar import MAX_FILE
from refsr.layouts.vggface2_csv import MAX_METADATA, Lines, find_lines, lines_of, read_numbers, read_sexes

BOX = ("x", "y", "w", "h")
LANDMARKS = tuple(f"p{i}{axis}" for i in range(1, 6) for axis in "xy")  # eyes, nose, mouth corners
SPLITS = ("train", "test")

_ROOTS, _SEXES = (*SPLITS, ""), ("f", "m", "?")
_BOX_FILES, _LANDMARK_FILES, _SEX_FILES = METADATA = ("loose_bb_*.csv", "loose_landmark_*.csv", "identity_meta.csv")
# At most three folders above that of the identity: vggface2/vggface2_train/train/n000002/0001_01.jpg.
_IN_FOLDER = re.compile(r"(?:[^/]+/){0,3}(n\d{6})/[^/]*", re.ASCII)
_SUFFIXES = {".jpg", ".jpeg", ".png"}


class Tree:
    """A raw set as VGGFace2 lays it out: its identities, their images, and the metadata beside or above them.

    images: a row per image, sorted by identity and name: identity, root ("train", "test" or ""), sex ("m", "f" or "?"),
        file (its row in `source.files`, which has its name).
    empty: identities that have a folder and no image.
    refused: what is never read; columns name, identity, reason, value, detail.

    Raises RefsrError where there are no identities, or one stands in two places.
    """

    def __init__(self, raw: Source | Path | str) -> None:
        self.source = raw if isinstance(raw, Source) else open_source(raw)
        self._found: dict[str, dict[int, dict[str, list[Lines]]]] = {}
        self._top = stem(self.source.uri.rpartition("/")[2])
        self.images = self._images()
        self.identities = self.images["identity"].cat.categories.union(self._empty_folders())
        self.empty = sorted(set(self.identities) - set(self.images["identity"].unique()))
        if not len(self.identities):
            raise RefsrError(
                f"{self.source.uri}: no identity folders (nXXXXXX) here; expected are nXXXXXX/, train/nXXXXXX/, "
                "test/nXXXXXX/ or these under vggface2/, vggface2_train/ or vggface2_test/"
            )
        self.refused = self._refused()

    def _images(self) -> pd.DataFrame:
        numbers: dict[str, int] = {}
        codes, roots, files = array("i"), array("b"), array("q")
        for identity, root, file in self._image_rows():
            codes.append(numbers.setdefault(identity, len(numbers)))
            roots.append(_ROOTS.index(root))
            files.append(file)
        people = pd.Categorical.from_codes(np.array(codes, np.int32), pd.Index([*numbers], dtype="str"))
        images = pd.DataFrame(
            {
                "identity": people.reorder_categories(sorted(numbers)),
                "root": pd.Categorical.from_codes(np.array(roots, np.int8), pd.Index(_ROOTS)),
                "file": np.array(files, np.int64),
            }
        )
        images = images.iloc[_by_identity_and_name(self.with_names(images))].reset_index(drop=True)
        sexes = self.sexes()
        sex = np.array([_SEXES.index(sexes.get(key, "?")) for key in sorted(numbers)], np.int8)
        return images.assign(sex=pd.Categorical.from_codes(sex[images["identity"].cat.codes], pd.Index(_SEXES)))

    def with_names(self, images: pd.DataFrame) -> pd.DataFrame:
        """Some of `images` and `source`, the name of each in the set."""
        return images.assign(source=self.source.files["name"].iloc[images["file"].to_numpy()].array)

    def _image_rows(self) -> Iterator[tuple[str, str, int]]:
        homes: dict[str, str] = {}
        for row, (name, size) in enumerate(zip(self.source.files["name"], self.source.files["size"], strict=True)):
            home, _, file = name.rpartition("/")
            identity = identity_of(name)
            if identity and is_image(file) and size <= MAX_FILE:
                if homes.setdefault(identity, home) != home:
                    raise RefsrError(
                        f"{self.source.uri}: identity {identity} stands in {homes[identity]} and in {home} as well; an "
                        "identity belongs to one folder of one split: remove or rename one of them"
                    )
                parent = home.rpartition("/")[0].rpartition("/")[2] or self._top
                yield identity, next((split for split in SPLITS if parent.endswith(split)), ""), row

    def _empty_folders(self) -> list[str]:
        return sorted({identity for name in self.source.folders if (identity := identity_of(f"{name}/"))})

    def _refused(self) -> pd.DataFrame:
        files = self.source.files
        large = files[files["size"] > MAX_FILE]
        large = large[np.array([bool(identity_of(name)) for name in large["name"]], bool)]
        large = large[["name"]].assign(
            reason="oversized_file", value=large["size"], detail=f"more than {MAX_FILE} bytes"
        )
        refused = pd.concat([self.source.refused, large], ignore_index=True)
        return refused.assign(identity=[identity_of(name) for name in refused["name"]])

    def find(self, pattern: str) -> list[int]:
        """The rows in `source.files` of the metadata files of this name, anywhere beside or above the identities."""
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

    def boxes(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """x, y, w, h of the face in source pixels, by image name, of these identities or of all; none without files."""
        return self._numbers(_BOX_FILES, BOX, identities)

    def landmarks(self, identities: Collection[str] | None = None) -> pd.DataFrame:
        """p1x ... p5y in source pixels, by image name; no rows where a mirror ships none."""
        return self._numbers(_LANDMARK_FILES, LANDMARKS, identities)

    def _numbers(self, pattern: str, columns: tuple[str, ...], identities: Collection[str] | None) -> pd.DataFrame:
        if identities is None:
            tables = [read_numbers(*self.open(row), columns) for row in self.find(pattern)]
        else:
            parts = {row: lines_of(lines, identities) for row, lines in self._lines(pattern, columns).items()}
            tables = [read_numbers(*self.open(row, some[-1].end), columns, some) for row, some in parts.items() if some]
        joined = pd.concat(tables) if tables else pd.DataFrame(columns=list(columns), dtype=float)
        return joined[~joined.index.duplicated()]

    def _lines(self, pattern: str, columns: tuple[str, ...]) -> dict[int, dict[str, list[Lines]]]:
        """Of each of these files where the lines of each identity are; it is read through for them once."""
        if pattern not in self._found:
            self._found[pattern] = {row: find_lines(*self.open(row), columns) for row in self.find(pattern)}
        return self._found[pattern]

    def sexes(self) -> dict[str, str]:
        """identity -> "m" or "f", of those that identity_meta.csv tells."""
        return {
            key: sex for row in self.find(_SEX_FILES) for key, sex in read_sexes(*self.open(row, most=MAX_FILE)).items()
        }

    def open(self, row: int, end: int = MAX_METADATA, most: int = MAX_METADATA) -> tuple[BinaryIO, str]:
        """A metadata file of `source.files`, opened up to byte `end`, and what it is called in messages.

        Raises RefsrError where it has more than `most` bytes.
        """
        (extent,) = self.source.extents(np.array([row]))
        title = f"{self.source.uri}/{self.source.files['name'].iloc[row]}"
        if extent.length > most:
            raise RefsrError(f"{title}: {extent.length} bytes are more than any metadata of VGGFace2; take it away")
        return open_extent(extent._replace(length=min(extent.length, end))), title


def _by_identity_and_name(images: pd.DataFrame) -> np.ndarray:
    """(N,) the order; by Arrow, since to sort strings pandas makes a Python object of each."""
    keys = pa.table({"identity": images["identity"].cat.codes.to_numpy(), "source": pa.array(images["source"])})
    return np.asarray(pc.sort_indices(keys, sort_keys=[("identity", "ascending"), ("source", "ascending")]))


def identity_of(name: str) -> str:
    """The identity whose folder a file stands in, "" where it stands in none or too deep."""
    match = _IN_FOLDER.fullmatch(name)
    return match[1] if match else ""


def is_image(file: str) -> bool:
    """Whether a file may be an image, by its name; what it is, its content says."""
    return file[file.rfind(".") :].lower() in _SUFFIXES and not file.startswith(".")


def tells_sex(name: str, size: int) -> bool:
    """Whether a file is the one that tells of the identities' sex: all metadata that is asked for before any image."""
    return name.rpartition("/")[2] == _SEX_FILES and is_wanted(name, size)


def is_wanted(name: str, size: int) -> bool:
    """Whether a member of an archive may be needed: an image of an identity, or metadata."""
    if identity_of(name):
        return is_image(name.rpartition("/")[2]) and size <= MAX_FILE
    return name.lower().endswith(".csv") and size <= MAX_METADATA
