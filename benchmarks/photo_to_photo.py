"""What `upscale` does with photos: never worse than the photo, the right face, no seam.

    python benchmarks/photo_to_photo.py --model models/refsr --curated data/curated

It uses people of the validation split. Prints one JSON object:

- sizes: crops of 6 to 64 pixels, enlarged to HR with the right reference. PSNR of the result minus
  PSNR of the bicubic enlargement, the mean, the least of all images, and the share below 0.
- scenes: three people in one picture, at several sizes of their faces. The share of faces that are
  detected, and of scenes in which the face of the person on the reference is chosen.
- seams: the gradient along the edge of the pasted square over that of the bicubic enlargement at
  the same places, median of all scenes.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import refsr
from refsr.curation.alignment import resample
from refsr.dataset.curated import Curated
from refsr.inference import faces
from refsr.inference.images import read_image
from refsr.inference.library import Upscaler
from refsr.inference.options import SHARPNESS
from refsr.inference.photo import enlarge, upscale_photo
from refsr.inference.portraits import Portrait

SIZES = (6, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 56)  # pixels
FACES = (10, 14, 20, 28)  # pixels, the height of the face of a scene, about
_IMAGE = 1.65  # height of a raw image over that of its face, about


def main() -> None:
    """Measure and print one JSON object."""
    options = _parse_options()
    torch.set_num_threads(1)
    model = refsr.load(options.model)
    curated = Curated(options.curated)
    table = curated.table[curated.table["split"] == "validation"]
    result = {
        "sizes": sizes(model, curated, table, options.images, options.sharpness),
        **scenes(model, table, options.raw, options.scenes, options.seed),
    }
    print(json.dumps(result))


def sizes(
    model: Upscaler, curated: Curated, table: pd.DataFrame, count: int, sharpness: float
) -> dict[int, dict[str, float]]:
    """Gains over the bicubic enlargement, dB, by the size of the crop."""
    images, references = _pairs(curated, table, count)
    gains: dict[int, list[float]] = {size: [] for size in SIZES if size < model.hr_size}
    for image, reference in zip(images, references, strict=True):
        for size, known in gains.items():
            small = resample(image, size, size)
            portrait = Portrait(reference, None)
            scale = len(image) / size
            kept = {"scale": min(scale, 16.0), "sharpness": sharpness, "crop": True}
            made = enlarge(model, small, [portrait], **kept).image
            made = resample(made, *image.shape[:2])
            plain = resample(small, *image.shape[:2])
            known.append(_psnr(made, image) - _psnr(plain, image))
    return {size: _summary(np.array(known)) for size, known in gains.items()}


def _summary(gains: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(gains.mean()), 2),
        "least": round(float(gains.min()), 2),
        "below": round(float((gains < 0).mean()), 3),
    }


def _pairs(curated: Curated, table: pd.DataFrame, count: int) -> tuple[np.ndarray, np.ndarray]:
    """HR images, and the reference of each."""
    is_reference = table["role"] == "reference"
    references = pd.Series(table.index[is_reference], table.loc[is_reference, "identity"])
    images = table.index[~is_reference][:count]
    rows = references[table.loc[images, "identity"]].to_numpy()
    return curated.pixels(images.to_numpy()), curated.pixels(rows)


def scenes(
    model: Upscaler,
    table: pd.DataFrame,
    raw: Path,
    count: int,
    seed: int,
) -> dict[str, object]:
    """Detection, choice and seams in pictures of three people."""
    rng = np.random.default_rng(seed)
    detected: dict[int, list[float]] = {size: [] for size in FACES}
    right: dict[int, list[bool]] = {size: [] for size in FACES}
    seams: list[float] = []
    for _ in range(count):
        for size in FACES:
            scene, reference, middle = _scene(table, raw, size, rng)
            result = upscale_photo(model, scene, [reference])
            detected[size].append(min(1.0, len(result.faces) / 3))
            chosen = next(face for face in result.faces if face.restored)
            left, width = chosen.box[0], chosen.box[2]
            right[size].append(abs(left + width / 2 - middle) < width)
            seams.extend(_seams(model, scene, result.image, result.scale))
    return {
        "detected": {size: round(float(np.mean(each)), 3) for size, each in detected.items()},
        "chosen": {size: round(float(np.mean(each)), 3) for size, each in right.items()},
        "seams": round(float(np.median(seams)), 3),
    }


def _scene(
    table: pd.DataFrame,
    raw: Path,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Three people side by side, a reference of one, and where that one is, from the left."""
    people = rng.choice(table["identity"].unique(), 3, replace=False)
    tiles, reference = [], np.empty(0)
    at = int(rng.integers(3))
    for number, person in enumerate(people):
        own = table[table["identity"] == person]
        files = own[own["role"] != "reference"]["source"].tolist()
        tile = read_image(raw / files[int(rng.integers(len(files)))])
        height = round(size * _IMAGE)
        tiles.append(resample(tile, round(height * tile.shape[1] / tile.shape[0]), height))
        if number == at:
            reference = read_image(raw / own[own["role"] == "reference"]["source"].iloc[0])
    before = sum(tile.shape[1] for tile in tiles[:at])
    return np.concatenate(tiles, axis=1), reference, before + tiles[at].shape[1] / 2


def _seams(model: Upscaler, scene: np.ndarray, image: np.ndarray, scale: float) -> Iterator[float]:
    """Gradients across the edges of squares, relative to those of the bicubic enlargement."""
    plain = resample(scene, image.shape[1], image.shape[0])
    for face in faces.detect(scene):
        square = faces.square_of(face.points, model.usual_landmarks)
        corner = np.round(-square.turn[:, 2] * scale).astype(int)
        side = round(square.side * scale)
        if np.any(square.turn[:, :2] != np.eye(2)) or (corner < 1).any():
            continue
        made, known = (_edge(each, corner[0], corner[1], side) for each in (image, plain))
        if known > 0:
            yield made / known


def _edge(image: np.ndarray, left: int, top: int, side: int) -> float:
    """Mean absolute difference of the pixels on both sides of a square's left and top edge."""
    rows, columns = slice(top, top + side), slice(left, left + side)
    grey = image.mean(axis=2)
    across = np.abs(grey[rows, left] - grey[rows, left - 1]).mean()
    down = np.abs(grey[top, columns] - grey[top - 1, columns]).mean()
    return float(across + down)


def _psnr(image: np.ndarray, truth: np.ndarray) -> float:
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/refsr")
    parser.add_argument("--curated", type=Path, default=Path("data/curated"))
    parser.add_argument("--raw", type=Path, default=Path("data/rendered"))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sharpness", type=float, default=SHARPNESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
