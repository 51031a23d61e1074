"""Small raw trees drawn with cv2, an embedding that tells drawn people apart by their colour,
and their curation.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation.curated_writer import write_curated
from refsr.dataset.curated import Curated

SIZE = 120
BOX = (30, 25, 60, 70)
LANDMARKS = (45, 45, 75, 45, 60, 62, 48, 80, 72, 80)
PARAMS = Curate(hr_size=32, crop="loose", shard_images=16, min_sharpness=0.25)


def person(number: int) -> str:
    return f"n{number:06d}"


def colour(number: int) -> tuple[int, int, int]:
    hsv = np.uint8([[[number * 37 % 180, 200, 220]]])
    return tuple(int(c) for c in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0])


def draw(number: int, view: int) -> np.ndarray:
    """A face in the person's colour before a background of its own view, (SIZE, SIZE, 3) BGR."""
    rng = np.random.default_rng([number, view])
    image = cv2.resize(
        rng.integers(0, 256, (9, 9, 3), np.uint8), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC
    )
    x, y, w, h = BOX
    cv2.ellipse(image, (x + w // 2, y + h // 2), (w // 2, h // 2), 0, 0, 360, colour(number), -1)
    for at in rng.integers([x + 10, y + 10], [x + w - 10, y + h - 10], (8, 2)):
        cv2.circle(image, tuple(map(int, at)), 3, tuple(map(int, rng.integers(0, 256, 3))), -1)
    return image


def jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def put(raw: Path, split: str, number: int, name: str, data: bytes) -> None:
    folder = raw / split / person(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jpg").write_bytes(data)


def write_metadata(
    raw: Path,
    split: str,
    boxes: dict[str, tuple[float, ...]] | None = None,
    landmarks: dict[str, tuple[float, ...]] | None = None,
) -> None:
    """Boxes and landmarks of all images in raw/split,
    the usual ones but for those named `nXXXXXX/name`.
    """
    folder = raw / "bb_landmark"
    folder.mkdir(exist_ok=True)
    names = sorted(f"{path.parent.name}/{path.stem}" for path in (raw / split).glob("n*/*.jpg"))
    for kind, usual, own in (("bb", BOX, boxes or {}), ("landmark", LANDMARKS, landmarks or {})):
        header = (
            "NAME_ID,X,Y,W,H"
            if kind == "bb"
            else "NAME_ID," + ",".join(f"P{i}{a}" for i in range(1, 6) for a in "XY")
        )
        lines = [
            f'"{name}",' + ",".join(map(str, own.get(name, usual)))
            for name in names
            if own.get(name, usual)
        ]
        (folder / f"loose_{kind}_{split}.csv").write_text("\n".join([header, *lines]) + "\n")


def make_raw(raw: Path, train: int = 4, test: int = 3, views: int = 5) -> Path:
    """A tree without a fault: `train` + `test` people with `views` images each, from n000001 on."""
    for number in range(1, train + test + 1):
        split = "train" if number <= train else "test"
        for view in range(1, views + 1):
            put(raw, split, number, f"{view:04d}_01", jpeg(draw(number, view)))
    for split in ("train", "test"):
        write_metadata(raw, split)
    return raw


def embed_colour(chips: np.ndarray) -> np.ndarray:
    """(N, 150, 150, 3) uint8 -> (N, 64) float32 from the median colour of the face.

    It is the same in all views of a person. Random Fourier features: two colours lie about 1 apart
    as soon as they differ clearly.
    """
    colours = np.median(chips[:, 40:110, 40:110].reshape(len(chips), -1, 3), axis=1) / 255
    rng = np.random.default_rng(0)
    return (np.cos(colours @ rng.normal(0, 8, (3, 64)) + rng.uniform(0, 2 * np.pi, 64)) / 8).astype(
        np.float32
    )


def curate_tree(
    raw: Path, params: Curate = PARAMS, workers: int = 1
) -> tuple[Curated, pd.DataFrame, dict[str, float]]:
    folder = raw.parent / f"curated-{workers}"
    summary = write_curated(params, raw, folder, embed_colour, workers)
    return Curated(folder), pd.read_parquet(folder / "rejects.parquet"), summary


def reasons(rejects: pd.DataFrame) -> dict[str, str]:
    """Source -> reason."""
    return dict(zip(rejects["source"], rejects["reason"], strict=True))
