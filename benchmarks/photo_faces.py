"""Whether curation chose the face of a folder's person, of several in a photo.

Where a bystander was planted, the face has to lie on the person's side. Of any other photo that
is sound, the other photos of its folder tell: the chosen face is wrong where another face of the
photo is nearer to them and within dlib's limit of one person. It is the network that curation
uses, but all faces of the folder are compared, and no face is preferred for its size or place.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from intervals import wilson
from photo_defects import Planted, is_in

from refsr.config import Curate
from refsr.curation.detection import Embed, look
from refsr.curation.extraction import Detector
from refsr.curation.feature_store import Features
from refsr.curation.planted_defects import SOUND, has_own_face
from refsr.io import pictures

SAME = 0.6  # dlib's limit for two photos of one person
LEAST_OTHERS = 2  # faces of a folder that tell whose it is


def chosen_faces(
    planted: Sequence[Planted],
    features: Features,
    raw: Path,
    embed: Embed,
    detector: Detector,
) -> dict[str, object]:
    """The share of photos whose chosen face is right, of all and of those with several faces.

    Photos that were left out before their face was embedded do not count.
    """
    touched = {path for one in planted if one.kind not in SOUND for path in (one.path, one.other)}
    beside = {one.path: one.variant for one in planted if one.kind == "bystander"}
    right: list[bool] = []
    several: list[bool] = []
    for face, group in _photos(features, touched):
        if face["source"] in beside:
            several.append(has_own_face(face, beside[face["source"]]))
            right.append(several[-1])
            continue
        data = (raw / face["source"]).read_bytes()
        size = face["width"], face["height"]
        turned = pictures.orientation(data)
        seen = look(data, turned, size, detector.find, Curate().min_box)
        right.append(True)
        if len(seen.boxes) > 1:
            others = nearest_box(seen.boxes, face)
            right[-1] = is_nearest(embed(seen.chips), others, group)
            several.append(right[-1])
    return {
        "faces": len(right),
        "chosen_right": _share(right),
        "chosen_right.95": wilson(sum(right), len(right)),
        "faces_of_several": len(several),
        "chosen_right_of_several": _share(several),
    }


def _photos(features: Features, touched: set[str]) -> Iterator[tuple[pd.Series, np.ndarray]]:
    """Each sound photo's chosen face, and the embeddings of the others of its folder."""
    ranked = pd.DataFrame(features.ranked[np.arange(len(features.table))])
    table = ranked.assign(source=features.table["source"].astype("str"))
    faces = np.asarray(features.embeddings[np.arange(len(table))], np.float64)
    embedded = np.isfinite(faces).all(axis=1)
    sound = np.array([not is_in(path, touched) for path in table["source"]])
    folders = features.table["identity"].astype("str").to_numpy()
    for folder in np.unique(folders):
        rows = np.flatnonzero((folders == folder) & embedded & sound)
        for row in rows.tolist() if len(rows) > LEAST_OTHERS else ():
            yield table.iloc[row], faces[rows[rows != row]]


def nearest_box(boxes: np.ndarray, face: pd.Series) -> int:
    """Which of the boxes (K, 4) of a photo is that of the chosen face."""
    chosen = face[["x", "y", "w", "h"]].to_numpy(float)
    centres = boxes[:, :2] + boxes[:, 2:] / 2
    return int(np.linalg.norm(centres - chosen[:2] - chosen[2:] / 2, axis=1).argmin())


def is_nearest(faces: np.ndarray, chosen: int, group: np.ndarray) -> bool:
    """Whether no other of the faces (K, D) is rather that of the group (N, D)."""
    apart = np.linalg.norm(faces[:, None].astype(np.float64) - group, axis=2)
    distance = np.median(apart, axis=1)
    best = int(distance.argmin())
    return bool(best == chosen or distance[best] > SAME)


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4) if hits else 0.0
