"""Measure a sample of a raw set without limits, for limits to be proposed from it.

`calibration_limits` proposes them. Nobody said which images of the set are bad: what is compared
with its images are faces of other folders, and copies and blurred versions of its own crops.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from refsr.config import Curate
from refsr.curation import image_stats
from refsr.curation.collector import FeatureCollector
from refsr.curation.detection import Embed
from refsr.curation.extraction import Detector
from refsr.curation.feature_store import Features
from refsr.errors import RefsrError
from refsr.io.jpeg import decode
from refsr.layouts.registry import AUTO

MOST_VIEWS = 10  # images of a person
LEAST_PEOPLE = 8  # whose faces are compared with each other
LEAST_IMAGES = 40
BLUR = (0.02, 0.03, 0.06)  # standard deviation over the side of a crop
_SMALLEST = 20  # pixels, of a face box
_QUALITY = 40  # of a copy as a JPEG
_CUT = 0.06  # of the sides of a copy


@dataclass(frozen=True)
class Sample:
    """N images of a raw set that show a face, none of them left out by a limit.

    Attributes:
        groups: (N,) the person of each, from 0.
        embeddings: (N, D) float32.
        thumbs: (N, ...) as in ImageFeatures.
        faces: (N,) with the fields x, y, w, h, width and height, in pixels of the image, and yaw,
            in degrees.
        enlarged: (N,) whether the face is smaller than it is on the crop.
        face_probability, sharpness, dhash: (N,) of the crop.
        blurred: strength, see BLUR -> (N,) sharpness of the crop when it is blurred so much.
        copied: name of the change -> (N,) bits that the hash of the crop changes by.
        looked_at: images that were read.
        people: people of the sample.
    """

    groups: np.ndarray
    embeddings: np.ndarray
    thumbs: np.ndarray
    faces: np.ndarray
    enlarged: np.ndarray
    face_probability: np.ndarray
    sharpness: np.ndarray
    dhash: np.ndarray
    blurred: dict[float, np.ndarray]
    copied: dict[str, np.ndarray]
    looked_at: int
    people: int

    @property
    def box(self) -> np.ndarray:
        """(N,) the shorter side of the face box, pixels."""
        return np.asarray(np.minimum(self.faces["w"], self.faces["h"]))

    @property
    def are_detected(self) -> bool:
        """Whether faces were detected, since the raw set has no boxes."""
        return self.thumbs.ndim == 4


def measure(
    raw: str | Path,
    params: Curate,
    embed: Embed,
    workers: int,
    detector: Detector | None = None,
    *,
    layout: str = AUTO,
    most: int = 1000,
    seed: int = 0,
) -> Sample:
    """Measure people of a raw set, drawn by `seed`.

    Args:
        raw: Path or URI of the raw set.
        params: The section `curate`; its limits are left aside.
        embed: The identity network.
        workers: Processes.
        detector: As in `extract`.
        layout: How the raw set is laid out; see refsr.layouts.
        most: Images that are read, about.
        seed: Of the draw.

    Raises:
        RefsrError: The raw set cannot be read, or has too few people or faces.
    """
    with tempfile.TemporaryDirectory(prefix="refsr-calibrate-") as scratch:
        collector = FeatureCollector(
            raw, Path(scratch), _without_limits(params), embed, workers,
            detector=detector, layout=layout,
        )  # fmt: skip
        images = drawn(collector.tree.images, params, most, seed)
        collector.tree.images = images
        people = sorted(images["identity"].unique().tolist())
        if len(people) < LEAST_PEOPLE:
            raise RefsrError(
                f"{raw}: {len(people)} people with two images in a sample of {len(images)}; "
                f"{LEAST_PEOPLE} are needed: name a larger set, or raise --most"
            )
        return _sample(collector, collector.collect(people), params, str(raw))


def _without_limits(params: Curate) -> Curate:
    """Everything that is a face is measured."""
    none = {
        "min_box": min(_SMALLEST, params.min_box),
        "max_cut": 1.0,
        "max_yaw": 90.0,
        "min_sharpness": 0.0,
        "min_face_probability": 0.0,
    }
    return params.model_copy(update=none)


def drawn(images: pd.DataFrame, params: Curate, most: int, seed: int) -> pd.DataFrame:
    """At most MOST_VIEWS images of people who have two or more, about `most` images in all."""
    rng = np.random.default_rng(seed)
    images = images.iloc[rng.permutation(len(images))]
    if params.identities != "all":
        images = images[images["identity"].isin(params.identities)]
    images = images[images.groupby("identity", observed=True).cumcount() < MOST_VIEWS]
    sizes = images["identity"].value_counts(sort=False)
    people = rng.permutation(np.asarray(sizes[sizes >= 2].sort_index().index, object))
    chosen = people[: int(np.searchsorted(sizes[people].cumsum(), most)) + 1]
    images = images[images["identity"].isin(chosen)].sort_index()
    return images.reset_index(drop=True)


def _sample(collector: FeatureCollector, features: Features, params: Curate, raw: str) -> Sample:
    table = features.table
    ranked = features.ranked[:]
    kept = np.flatnonzero(((table["reason"] == "") & (table["crop"] >= 0)).to_numpy())
    groups = pd.factorize(table["identity"].iloc[kept])[0]
    several = np.bincount(groups)[groups] > 1 if len(kept) else np.empty(0, bool)
    rows = kept[several]
    groups = np.unique(groups[several], return_inverse=True)[1]
    people = int(groups.max()) + 1 if len(groups) else 0
    if len(rows) < LEAST_IMAGES or people < LEAST_PEOPLE:
        raise RefsrError(
            f"{raw}: a sample of {len(table)} images shows {len(rows)} usable faces of {people} "
            f"people with two or more; {LEAST_IMAGES} of {LEAST_PEOPLE} are needed: "
            "name a larger set, or raise --most"
        )
    side = params.hr_size
    crops = collector.store.crops(table.iloc[rows], side)
    blurred, copied = _changed(crops, table["dhash"].to_numpy()[rows])
    measures = ranked[rows]
    larger = np.maximum(measures["w"], measures["h"]) * params.crop_factor
    return Sample(
        groups=groups,
        embeddings=np.asarray(features.embeddings[rows]),
        thumbs=np.asarray(features.thumbs[rows]),
        faces=measures,
        enlarged=larger < side,
        face_probability=np.ascontiguousarray(measures["face_probability"]),
        sharpness=np.ascontiguousarray(measures["sharpness"]),
        dhash=table["dhash"].to_numpy()[rows],
        blurred=blurred,
        copied=copied,
        looked_at=len(table),
        people=people,
    )


def _changed(
    crops: Iterator[np.ndarray], hashes: np.ndarray
) -> tuple[dict[float, np.ndarray], dict[str, np.ndarray]]:
    """`blurred` and `copied` of a Sample."""
    sharpness: dict[float, list[float]] = {strength: [] for strength in BLUR}
    bits: dict[str, list[int]] = {name: [] for name in _COPIES}
    for crop, known in zip(crops, hashes, strict=True):
        for strength, values in sharpness.items():
            soft = cv2.GaussianBlur(crop, (0, 0), strength * len(crop))
            grey = image_stats.miniatures(soft[None])
            values.append(float(image_stats.sharpness(grey)[0]))
        for name, copy in _COPIES.items():
            grey = image_stats.miniatures(copy(crop)[None])
            differ = image_stats.difference_hash(grey)[0] ^ known
            bits[name].append(int(np.bitwise_count(differ)))
    blurred = {strength: np.array(values) for strength, values in sharpness.items()}
    return blurred, {name: np.array(values) for name, values in bits.items()}


def _encoded(crop: np.ndarray) -> np.ndarray:
    options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    return decode(cv2.imencode(".jpg", crop[..., ::-1], options)[1].tobytes())


def _scaled(crop: np.ndarray) -> np.ndarray:
    small = cv2.resize(crop, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def _cropped(crop: np.ndarray) -> np.ndarray:
    rim = max(1, round(_CUT / 2 * len(crop)))
    inner = crop[rim:-rim, rim:-rim]
    return np.asarray(cv2.resize(inner, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def _contrasted(crop: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.convertScaleAbs(crop, alpha=0.7, beta=30))


_COPIES = {
    "encoded again": _encoded,
    "scaled": _scaled,
    "cropped": _cropped,
    "contrast": _contrasted,
}
