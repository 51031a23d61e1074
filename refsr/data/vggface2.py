"""VGGFace2 as distributed (Cao et al. 2018): the layouts of its folders and the quirks of its metadata files.

Whatever the mirror, an image is known by `<identity>/<stem>`, e.g. `n000002/0032_01`, the name the metadata files use.
"""

import math
import re
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from refsr.errors import RefsrError

BOX = ("x", "y", "w", "h")
LANDMARKS = tuple(f"p{i}{axis}" for i in range(1, 6) for axis in "xy")  # eyes, nose, mouth corners
SPLITS = ("train", "test")

_IDENTITY = re.compile(r"n\d{6}")
_NAME = re.compile(r"n\d{6}/[\w.-]+")
_SUFFIXES = {".jpg", ".jpeg", ".png"}  # what a file is, its content says
_DEPTH = 3  # vggface2/vggface2_train/train/n000002
# `n000001, "14th_Dalai_Lama",424,0, m,`: read from the right, since the name may hold commas and its quotes, which
# come after a space, do not quote.
_META = re.compile(r'\s*(n\d{6})\s*,\s*"?(.*?)"?\s*,\s*(\d+)\s*,\s*([01])\s*,\s*([mfMF]?)\s*,*\s*')


class Tree:
    """A raw folder, walked once: its identity folders and the folders in which metadata may lie.

    Raises RefsrError where there are no identity folders, or an identity stands in two places.
    """

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.folders: list[Path] = []
        self.identities: dict[str, Path] = {}
        self._walk(raw, 0)
        if not self.identities:
            raise RefsrError(
                f"{raw}: no identity folders (nXXXXXX) here; expected are nXXXXXX/, train/nXXXXXX/, test/nXXXXXX/ "
                "or these under vggface2/, vggface2_train/ or vggface2_test/"
            )

    def _walk(self, folder: Path, depth: int) -> None:
        self.folders.append(folder)
        for child in sorted(path for path in folder.iterdir() if path.is_dir()):
            if _IDENTITY.fullmatch(child.name):
                if child.name in self.identities:
                    raise RefsrError(
                        f"{child}: identity {child.name} stands in {self.identities[child.name]} as well; "
                        "an identity belongs to one folder of one split: remove or rename one of them"
                    )
                self.identities[child.name] = child
            elif depth < _DEPTH:
                self._walk(child, depth + 1)

    def images(self) -> pd.DataFrame:
        """A row per image, sorted: identity, source (path relative to the raw folder), name, root ("train", ...)."""
        rows = []
        for identity, folder in sorted(self.identities.items()):
            root = next((split for split in SPLITS if folder.parent.name.endswith(split)), "")
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."):
                    source = path.relative_to(self.raw).as_posix()
                    rows.append((identity, source, f"{identity}/{path.stem}", root))
        return pd.DataFrame(rows, columns=["identity", "source", "name", "root"], dtype=object)

    def find(self, pattern: str) -> list[Path]:
        """The metadata files of this name, anywhere beside or above the identity folders."""
        return sorted(path for folder in self.folders for path in folder.glob(pattern) if path.is_file())

    def boxes(self) -> pd.DataFrame:
        """x, y, w, h of the face in source pixels, by image name. Raises RefsrError where there are no box files."""
        paths = self.find("loose_bb_*.csv")
        if not paths:
            raise RefsrError(
                f"{self.raw}: no face boxes: bb_landmark/loose_bb_train.csv and loose_bb_test.csv are missing; "
                "faces are not detected here, so for now the boxes that VGGFace2 distributes are needed"
            )
        return _joined([read_numbers(path, BOX) for path in paths], BOX)

    def landmarks(self) -> pd.DataFrame:
        """p1x ... p5y in source pixels, by image name; no rows where a mirror ships none."""
        return _joined([read_numbers(path, LANDMARKS) for path in self.find("loose_landmark_*.csv")], LANDMARKS)

    def sexes(self) -> dict[str, str]:
        """identity -> "m" or "f", of those that identity_meta.csv tells."""
        return {key: sex for path in self.find("identity_meta.csv") for key, sex in read_sexes(path).items()}


def read_numbers(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """A box or landmark file, `"n000001/0001_01",60,60,79,109`, by image name.

    Raises RefsrError naming the file and the line that cannot be read, or that tells of an image a second time.
    """
    values = array("d")
    lines: dict[str, int] = {}
    for number, line in _lines(path):
        if number == 1 and line.upper().startswith("NAME_ID"):
            continue
        fields = [field.strip() for field in line.rstrip(", ").split(",")]
        name = fields[0].strip('"').removesuffix(".jpg")
        numbers = _floats(fields[1:])
        if not _NAME.fullmatch(name) or numbers is None or len(numbers) != len(columns):
            expected = f'"n000001/0001_01" and {len(columns)} numbers ({", ".join(columns)})'
            raise RefsrError(f"{path}:{number}: {line[:120]!r} is not {expected}; mend the line or take it out")
        if name in lines:
            raise RefsrError(f"{path}:{number}: {name} stands in line {lines[name]} already; take one of them out")
        lines[name] = number
        values.extend(numbers)
    table = np.frombuffer(values, dtype=np.float64).reshape(-1, len(columns)) if lines else np.empty((0, len(columns)))
    return pd.DataFrame(table, index=pd.Index(list(lines), dtype=object), columns=list(columns))


def read_sexes(path: Path) -> dict[str, str]:
    """identity -> "m" or "f" of an identity_meta.csv; identities without one are not in it.

    Raises RefsrError naming the file and the line that cannot be read.
    """
    sexes = {}
    for number, line in _lines(path):
        if number == 1 and line.strip().lower().startswith("class_id"):
            continue
        match = _META.fullmatch(line)
        if match is None:
            raise RefsrError(
                f"{path}:{number}: {line[:120]!r} is not `Class_ID, Name, Sample_Num, Flag, Gender` "
                '(e.g. n000001, "14th_Dalai_Lama",424,0, m); mend the line or take it out'
            )
        if match[5]:
            sexes[match[1]] = match[5].lower()
    return sexes


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, text) of the lines that are not blank."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                if text:
                    yield number, text
    except UnicodeDecodeError as error:
        raise RefsrError(f"{path}:{number}: not UTF-8 ({error.reason}); fetch the file anew or convert it") from error
    except OSError as error:
        raise RefsrError(f"{path}: cannot be read: {error.strerror}") from error


def _floats(fields: list[str]) -> list[float] | None:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _joined(tables: list[pd.DataFrame], columns: tuple[str, ...]) -> pd.DataFrame:
    joined = pd.concat(tables) if tables else pd.DataFrame(columns=list(columns), dtype=float)
    return joined[~joined.index.duplicated()]
