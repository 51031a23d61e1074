"""A folder per person: any folder name, any image suffix, no metadata (LFW, CASIA, own photos).

PERSON/IMAGE, with any folders above: dataset/train/PERSON/IMAGE. A folder `train` or `test` above
persons, or one whose name ends so (`photos_train`), gives their split.
"""

import re
from pathlib import PurePosixPath

from refsr.errors import RefsrError
from refsr.io.sources import Source
from refsr.layouts.base import SPLITS, NoMetadata

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm"),
)
_SYSTEM = {
    "__MACOSX",
    "@eaDir",
    "$RECYCLE.BIN",
}  # folders with copies of images that nobody put there
_SPLIT = re.compile(r"(?:.*[^a-z])?(train|test)", re.IGNORECASE | re.DOTALL)
_SHOWN = 3  # folders in a message


def expected() -> str:
    """What a set has."""
    return (
        "a folder per person, PERSON/photo.jpg, in the set, in train/ and test/, "
        "or in other folders"
    )


def identity_of(name: str) -> str:
    """The person's name, that of the file's folder; "" for hidden files and those in no folder."""
    folders = name.split("/")[:-1]
    return "" if not folders or _is_hidden(name) else folders[-1]


def is_image(name: str) -> bool:
    """By its suffix."""
    file = name.rpartition("/")[2]
    return file[file.rfind(".") :].lower() in SUFFIXES and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part in _SYSTEM for part in name.split("/"))


def is_metadata(name: str, size: int) -> bool:
    """There is none."""
    return False


def decides_splits(name: str, size: int) -> bool:
    """There is none."""
    return False


def split_of(folder: str) -> str:
    """That of the nearest folder above the person's that names one."""
    above = folder.split("/")[-2::-1]
    matches = (_SPLIT.fullmatch(part) for part in above)
    return next((match[1].lower() for match in matches if match), "")


def identity_folders(uri: str, folders: set[str]) -> set[str]:
    """All but `train`, `test` and those above all others, whose own images belong to nobody.

    Raises:
        RefsrError: Another folder holds images and folders with images: either may be the person.
    """
    above = {str(parent) for folder in folders for parent in PurePosixPath(folder).parents}
    roots = {folder for folder in folders if folder.rpartition("/")[2].lower() in SPLITS}
    nested = sorted((folders & above) - roots, key=len)
    if nested and all(folder.startswith(f"{nested[0]}/") for folder in folders - {nested[0]}):
        roots.add(nested.pop(0))
    if nested:
        inside = sorted(folder for folder in folders if folder.startswith(f"{nested[0]}/"))
        raise RefsrError(
            f"{uri}: {nested[0]} holds images, and so do folders in it "
            f"({', '.join(inside[:_SHOWN])}); images of a person stand directly in one "
            "folder: move them there, or take the inner folders out"
        )
    return folders - roots


def metadata(source: Source) -> NoMetadata:
    """None: faces are detected, and nobody's sex is known."""
    return NoMetadata()
