"""What curation flags of images in which nothing was planted, as photos.py prints it.

Published sets have wrong names of their own, so that such a flag is no error for sure. What can be
said is whether the identity network agrees with the set or with the flag. It is the network that
curation uses, too, so that this is no second opinion.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from photo_defects import Planted, is_of
from photo_faces import SAME

from refsr.curation.collector import FINISHED
from refsr.curation.feature_store import Features, Store

KINDS = ("same_person", "wrong_person")


def gathered(manifest: pd.DataFrame, rejects: pd.DataFrame, curated: Path) -> Features:
    """The features of all people of a curated set that keeps them."""
    store = Store(curated / FINISHED / "measured")
    names = {*manifest["identity"].astype("str"), *rejects["identity"].astype("str")}
    return store.gather(sorted(name for name in names if name in store))


def unplanted(
    planted: Sequence[Planted], rejects: pd.DataFrame, features: Features
) -> dict[str, float]:
    """Counts of flagged images in which nothing was planted, and of those that dlib agrees with.

    A wrong person is nearer to a photo of somebody else than to any of its folder. A photo of
    a person under two names is within dlib's limit of the photos of the other folder, on average.

    Args:
        planted: What was planted.
        rejects: Of the curated set.
        features: Of all people.
    """
    faces = np.asarray(features.embeddings[np.arange(len(features.table))], np.float64)
    sources = features.table["source"].astype("str").to_numpy()
    folders = features.table["identity"].astype("str").to_numpy()
    result: dict[str, float] = {}
    for kind in KINDS:
        flagged = rejects.loc[rejects["reason"] == kind, "source"]
        rows = np.flatnonzero(np.isin(sources, [at for at in flagged if not is_of(at, planted)]))
        agreed = [_agrees(kind, row, faces, folders) for row in rows.tolist()]
        result |= {f"unplanted.{kind}": len(rows), f"unplanted.{kind}.like_others": sum(agreed)}
    return result


def _agrees(kind: str, row: int, faces: np.ndarray, folders: np.ndarray) -> bool:
    """Whether dlib, too, takes this face for one of another folder."""
    distance = pd.Series(np.linalg.norm(faces - faces[row], axis=1))
    own = folders == folders[row]
    if kind == "same_person":
        return bool(distance[~own].groupby(folders[~own]).mean().min() < SAME)
    return bool(distance[~own].min() < distance[own].drop(row).min())
