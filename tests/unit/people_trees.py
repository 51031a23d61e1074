"""Small sets of a folder per person, drawn with cv2,
and a detector that knows where the drawn faces are.
"""

import tarfile
from pathlib import Path

import numpy as np
from raw_trees import BOX, LANDMARKS, draw, jpeg

from refsr.config import Curate
from refsr.curation.extraction import Detector

# Spaces, dots, scripts, names that differ in case alone, one as long as a folder's name can be,
# one like an option.
NAMES = (
    "Zoë Müller",
    "J. R. R. Tolkien",
    "山田太郎",
    "anna",
    "Anna",
    "x" * 255,
    "--help",
    "a & b <i>",
    "n000001x",
)
PARAMS = Curate(hr_size=32, crop="loose", min_sharpness=0.2, shard_images=16, test_identities=2)


def find(image: np.ndarray, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([BOX], float), np.array(LANDMARKS, float).reshape(1, 5, 2)


def sure(chips: np.ndarray) -> np.ndarray:
    return np.full(len(chips), 0.99)


DETECTOR = Detector(find, sure)


def make_people(raw: Path, names: tuple[str, ...] = NAMES, views: int = 3) -> Path:
    """RAW/NAME/N.jpg, and what lies about in folders of photos."""
    for number, name in enumerate(names, 1):
        folder = raw / name
        folder.mkdir(parents=True)
        for view in range(1, views + 1):
            (folder / f"photo {view}.{'JPEG' if view == 1 else 'jpg'}").write_bytes(
                jpeg(draw(number, view))
            )
        for clutter in (".DS_Store", "Thumbs.db", "._photo 1.jpg", "notes.txt"):
            (folder / clutter).write_bytes(b"clutter")
    return raw


def packed(raw: Path, suffix: str) -> Path:
    """The set as an archive beside it."""
    path = raw.with_name(raw.name + suffix)
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
        archive.add(raw, ".")
    return path


def put_empty(raw: Path, *names: str) -> Path:
    """Write empty files below `raw`."""
    for name in names:
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"")
    return raw
